import type { z } from "zod";
import { SymphonyError } from "../model/errors.ts";

/**
 * `tracker.provider` as the tracker's own schema reads it. Throws `invalid_tracker_config` that names every fault:
 * `details.path` is the key of the first, `details.problems` has each when there are several.
 */
export function readProvider<T>(
  schema: z.ZodType<T>,
  provider: Readonly<Record<string, unknown>>,
): T {
  const read = schema.safeParse(provider);
  if (read.success) return read.data;
  throw oneOf(read.error.issues.map(({ path, message }) => providerFault(path.join("."), message)));
}

/** A fault of one key of `tracker.provider`; `rule` follows the key, such as `must be a string`. */
export function providerFault(key: string, rule: string): SymphonyError {
  const path = ["tracker.provider", ...(key === "" ? [] : [key])].join(".");
  return new SymphonyError("invalid_tracker_config", `${path} ${rule}`, { details: { path } });
}

/**
 * The results of all parts, so that a person mends a file once. Throws the fault of the only part that fails; when several
 * fail, one error with the code and path of the first and each fault in `details.problems`.
 */
export function everyPart<P extends Readonly<Record<string, () => unknown>>>(
  parts: P,
): { readonly [K in keyof P]: ReturnType<P[K]> } {
  const faults: SymphonyError[] = [];
  const results: Record<string, unknown> = {};
  for (const [name, part] of Object.entries(parts)) {
    try {
      results[name] = part();
    } catch (error) {
      if (!(error instanceof SymphonyError)) throw error;
      faults.push(error);
    }
  }
  if (faults.length > 0) throw oneOf(faults);
  return results as { readonly [K in keyof P]: ReturnType<P[K]> };
}

function oneOf(faults: readonly SymphonyError[]): SymphonyError {
  const [first = providerFault("", "is not valid"), ...others] = faults;
  if (others.length === 0) return first;
  const problems = faults.flatMap(
    ({ code, message, hint, details: { path = "", problems: inner } }) =>
      Array.isArray(inner) ? inner : [{ code, path, message, next: hint }],
  );
  const message = problems.map((one) => one.message).join("; ");
  return new SymphonyError(first.code, message, {
    details: { path: problems[0].path, problems },
    ...(first.hint !== null && { hint: first.hint }),
  });
}
