import type { Client } from "../client/client.ts";
import type { StreamEvent } from "../client/events.ts";
import type { Api } from "../contract/api.ts";
import { messageOf, SymphonyError } from "../core/model/errors.ts";
import type { Row } from "../web/lanes.ts";
import type { CommandContext } from "./context.ts";

/** What a person does to an issue. */
export type Deed =
  | { readonly type: "steer"; readonly message: string }
  | { readonly type: "respond"; readonly decision: "approve" | "decline" }
  | { readonly type: "respond"; readonly answer: string }
  | { readonly type: "abort" }
  | { readonly type: "transition"; readonly to: string };

/** How it stands. It is over with the server's event, and is then forgotten. */
export interface Act {
  /** `accepted`: the server has it, and its effect is not seen yet. */
  readonly kind: "sending" | "accepted" | "refused";
  readonly text: string;
}

interface Known extends Act {
  readonly deed: Deed;
  /** What the row looked like. */
  readonly row: string;
  /** The event came before the reply. */
  readonly isOver: boolean;
}

const doing: Readonly<Record<Deed["type"], string>> = {
  steer: "sending guidance",
  respond: "answering",
  abort: "stopping",
  transition: "moving",
};

/** The events that show the effect, or that there is none any more. */
const effects: Readonly<Record<Deed["type"], RegExp>> = {
  steer: /^(steer\.delivered|attempt\.ended|turn\.(completed|failed))$/,
  respond: /^(approval\.resolved|attempt\.(started|ended)|issue\.)/,
  abort: /^(issue\.|attempt\.ended)/,
  transition: /^(issue\.|attempt\.)/,
};

/** The actions under way, at most one for each issue, through the public API. */
export class Acts {
  readonly #context: Pick<CommandContext, "client">;
  readonly #changed: () => void;
  readonly #known = new Map<string, Known>();
  /** Of guidance whose reply was lost: the same text again has one effect. */
  readonly #keys = new Map<string, string>();

  constructor(context: Pick<CommandContext, "client">, changed: () => void) {
    this.#context = context;
    this.#changed = changed;
  }

  of(issue: string): Act | null {
    return this.#known.get(issue) ?? null;
  }

  /** False while another one is under way. */
  mayStart(issue: string): boolean {
    return this.#known.get(issue)?.kind !== "sending";
  }

  /** Resolves to whether the server has accepted it; a second one while the first is under way does nothing. */
  async start(issue: string, deed: Deed, row: Row | null): Promise<boolean> {
    if (!this.mayStart(issue)) return false;
    const looks = looksOf(row);
    const known = { deed, row: looks, isOver: false };
    this.#set(issue, { ...known, kind: "sending", text: `${doing[deed.type]} …` });
    try {
      await this.#send(issue, { deed, row }, await this.#context.client());
    } catch (error) {
      this.#set(issue, { ...known, kind: "refused", text: reasonOf(error) });
      return false;
    }
    if (this.#known.get(issue)?.isOver) this.forget(issue);
    else this.#set(issue, { ...known, kind: "accepted", text: `${doing[deed.type]} …` });
    return true;
  }

  /** Takes the reason of a refusal away, once it was read. */
  forget(issue: string): void {
    if (this.#known.delete(issue)) this.#changed();
  }

  event({ issue_identifier: issue, type }: StreamEvent): void {
    const known = issue === null ? undefined : this.#known.get(issue);
    if (issue === null || known === undefined || !effects[known.deed.type].test(type)) return;
    if (known.kind === "accepted") this.forget(issue);
    if (known.kind === "sending") this.#known.set(issue, { ...known, isOver: true });
  }

  /** What the rows show now may be the effect, as after events that were missed. */
  rows(rowOf: (issue: string) => Row | null): void {
    for (const [issue, known] of this.#known) {
      if (known.kind === "accepted" && looksOf(rowOf(issue)) !== known.row) this.forget(issue);
    }
  }

  #set(issue: string, known: Known): void {
    this.#known.set(issue, known);
    this.#changed();
  }

  async #send(
    issue: string,
    { deed, row }: { readonly deed: Deed; readonly row: Row | null },
    { issues }: Client<Api>,
  ): Promise<void> {
    const params = { id: issue };
    if (deed.type === "abort") await issues.abort({ params, body: {} });
    else if (deed.type === "transition") {
      await issues.transition({ params, body: { to: deed.to } });
    } else if (deed.type === "respond") {
      // An answer must not reach another question, such as after a lost reply.
      const asked = row !== null && "needs" in row ? { id: row.needs.id } : {};
      const given = "answer" in deed ? { answers: [deed.answer] } : { decision: deed.decision };
      await issues.respond({ params, body: { ...given, ...asked } });
    } else {
      const name = `${issue} ${deed.message}`;
      const key = this.#keys.get(name) ?? crypto.randomUUID();
      this.#keys.set(name, key);
      const headers = { "idempotency-key": key };
      await issues
        .steer({ params, headers, body: { message: deed.message } })
        .catch((error: unknown) => {
          if (!isLost(error)) this.#keys.delete(name);
          throw error;
        });
      this.#keys.delete(name);
    }
  }
}

/** Changes when the issue's row does in a way that an action can cause. */
function looksOf(row: Row | null): string {
  if (row === null) return "";
  const stopping = "stopping" in row ? row.stopping : "";
  const asked = "needs" in row ? row.needs.id : "";
  return [row.status, row.state, stopping, asked].join("\n");
}

function isLost(error: unknown): boolean {
  return !(error instanceof SymphonyError) || error.code === "server_unreachable";
}

function reasonOf(error: unknown): string {
  if (isLost(error)) {
    return "the server did not answer; nothing is known to have changed: try it again";
  }
  const hint = error instanceof SymphonyError ? error.hint : null;
  return hint === null ? messageOf(error) : `${messageOf(error)}; next: ${hint}`;
}
