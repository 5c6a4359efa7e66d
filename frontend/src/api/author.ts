const KEY = "author";

/** Who uses this browser, as they call themselves; kept by it, and sent with everything that is asked of the board. */
export const author = () => localStorage.getItem(KEY) ?? "";

export function setAuthor(name: string) {
  localStorage.setItem(KEY, name.trim());
}
