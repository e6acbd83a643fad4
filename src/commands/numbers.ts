import { SymphonyError } from "../core/model/errors.ts";

/** `{ [name]: number }` of an option, nothing when it was not given. Throws `usage` for anything but digits. */
export function numberOption<K extends string>(
  name: K,
  text: string | undefined,
): { readonly [P in K]?: number } {
  if (text === undefined) return {};
  if (/^\d+$/.test(text)) return { [name]: Number(text) } as { [P in K]: number };
  throw new SymphonyError("usage", `--${name}: "${text}" is not a number`);
}
