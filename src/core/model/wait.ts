/** What a retry waits for beside its time: the next day of the token budget, or an agent's provider. */
export type Wait =
  | { readonly gate: "day_budget" }
  | { readonly gate: "provider"; readonly agent: string };
