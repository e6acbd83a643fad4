import { z } from "zod";

/** The kinds of value a written configuration is made of, each with the words for a wrong one. */
export const text = z.string({
  error: ({ input }) => (input === undefined ? "is required" : "must be text"),
});
export const solidText = text.refine((value) => value.trim() !== "", "must not be blank");
export const texts = z.array(text, "must be a list");
export const map = z.record(z.string(), z.unknown(), "must be a map");
export const wholeNumber = z.int("must be a whole number");
export const positive = wholeNumber.min(1, "must be greater than 0");
export const notNegative = wholeNumber.min(0, "must not be negative");
export const variableName = text.regex(
  /^[A-Za-z_][A-Za-z0-9_]*$/,
  "must be the name of a variable",
);

/** One of a few words; the refusal lists them. */
export function oneOf<const Words extends readonly [string, ...string[]]>(...words: Words) {
  return z.enum(words, `must be ${words.slice(0, -1).join(", ")} or ${words.at(-1)}`);
}

/** A map of known keys; others are kept and mean nothing. */
export function section<Shape extends z.core.$ZodLooseShape>(shape: Shape) {
  return z.looseObject(shape, "must be a map");
}
