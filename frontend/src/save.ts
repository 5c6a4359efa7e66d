/** Lets the browser save text as a file. */
export function save(name: string, text: string, type: string) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  Object.assign(document.createElement("a"), { href: url, download: name }).click();
  // The download has begun by then; at once would be too early.
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
