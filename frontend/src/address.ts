/** Where this board is served, without a slash at the end. Its files are in a folder of it, this one too. */
export const ADDRESS = import.meta.url.replace(/\/[^/]*\/[^/]*$/, "");

/** The path of that address: empty, or what a proxy has put before the paths of the board's own. */
export const PREFIX = new URL(ADDRESS).pathname.replace(/\/$/, "");
