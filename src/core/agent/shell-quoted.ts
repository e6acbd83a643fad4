/** `text` as one word of a POSIX shell, whatever it holds. */
export function shellQuoted(text: string): string {
  return /^[A-Za-z0-9_/.:=@%+,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
