export type ForgeErrorCategory =
  /** The credential is not accepted. */
  | "unauthorized"
  /** The credential lacks a permission, or the repository is archived or the conversation locked. */
  | "forbidden"
  /** It does not exist, or the credential may not see it. */
  | "not_found"
  | "gone"
  | "rate_limited"
  /** No answer, half an answer or a server error: whether a write was done is unknown. */
  | "unavailable"
  /** An answer that does not have the documented form. */
  | "malformed"
  /** Understood and not done. */
  | "refused";

/** Why a forge did not do what was asked. The message is one line with the site's own words, and holds no secret. */
export class ForgeError extends Error {
  override readonly name = "ForgeError";
  readonly category: ForgeErrorCategory;
  /** Asking again will be refused again until a person changes something. */
  readonly final: boolean;
  /** When to ask again, ms since the epoch by our own clock; null: not said. */
  readonly retryAt: number | null;
  /** Of the HTTP answer that was no success; null: there was none, or another reason. */
  readonly status: number | null;

  constructor(
    category: ForgeErrorCategory,
    message: string,
    options: { final?: boolean; retryAt?: number | null; status?: number } = {},
  ) {
    super(message);
    this.category = category;
    this.final = options.final ?? finalCategories.has(category);
    this.retryAt = options.retryAt ?? null;
    this.status = options.status ?? null;
  }
}

const finalCategories: ReadonlySet<ForgeErrorCategory> = new Set([
  "forbidden",
  "not_found",
  "gone",
  "refused",
]);
