/** Bytes of UTF-8 that one secret may have. */
export const maxSecretBytes = 65_536;

/**
 * What keeps a text from being stored as a secret; null: nothing. A NUL can be in no environment variable and no header, and a
 * byte order mark, which editors and shells put before a text, is never a part of a key.
 */
export function secretFault(value: string): string | null {
  if (value === "") return "must not be empty";
  if (!value.isWellFormed()) return "must be Unicode text";
  if (value.includes("\0")) return "must not hold a NUL byte";
  if (value.startsWith("\uFEFF")) return "must not begin with a byte order mark";
  const { length } = new TextEncoder().encode(value);
  return length > maxSecretBytes ? `must not be over ${maxSecretBytes} bytes` : null;
}
