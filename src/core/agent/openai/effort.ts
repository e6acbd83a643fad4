import { SymphonyError } from "../../model/errors.ts";

const efforts = ["none", "minimal", "low", "medium", "high", "xhigh", "max"] as const;

/** A reasoning effort the provider knows. Throws `provider_error` for another word. */
export function effortOf(written: string | null): (typeof efforts)[number] | null {
  if (written === null) return null;
  const found = efforts.find((effort) => effort === written.trim().toLowerCase());
  if (found) return found;
  throw new SymphonyError(
    "provider_error",
    `there is no reasoning effort ${written.slice(0, 50)}`,
    {
      hint: `it is one of ${efforts.join(", ")}`,
    },
  );
}
