/** Where this board is served, without a slash at the end. */
export const ADDRESS = location.origin;
