import { type Clock, pause } from "../clock.ts";
import { parseJson } from "../text/text.ts";
import type { Engine } from "./engine.ts";
import { Request } from "./join.ts";
import type { Members } from "./members.ts";
import { keyFor, seal, unseal } from "./sealing.ts";

interface AdmissionDeps {
  readonly engine: Engine;
  readonly members: Members;
  readonly clock: Clock;
  readonly log: {
    info(message: string, fields?: Readonly<Record<string, unknown>>): void;
    warn(message: string, fields?: Readonly<Record<string, unknown>>): void;
  };
  /** Only the server that leads answers. */
  leads(): boolean;
  readonly signal: AbortSignal;
}

const lookMs = 500;
const answerKeptMs = 60_000;

/** Answers machines that ask to join, until `signal` aborts. Never rejects. */
export async function admitWorkers(deps: AdmissionDeps): Promise<void> {
  const { clock, signal } = deps;
  let last = "0-0";
  while (!signal.aborted) {
    try {
      if (deps.leads()) last = await admitAfter(last, deps);
    } catch {
      last = "0-0";
    }
    await pause(clock, lookMs, signal).catch(() => {});
  }
}

async function admitAfter(after: string, deps: AdmissionDeps): Promise<string> {
  const { engine } = deps;
  const inbox = engine.key("joins");
  const found = await engine.redis.xrangeBuffer(inbox, `(${after}`, "+", "COUNT", 20);
  let last = after;
  for (const [id, fields] of found) {
    const [, invitation, , sealed] = fields;
    if (invitation && sealed) await answer(invitation.toString(), sealed, deps);
    await engine.redis.xdel(inbox, id);
    last = id.toString();
  }
  return last;
}

async function answer(
  invitation: string,
  sealed: Buffer,
  { engine, members, clock, log }: AdmissionDeps,
): Promise<void> {
  const open = members.invitation(invitation);
  // Without its secret nothing can be answered, and nothing is learned.
  if (open === null) return;
  const key = keyFor(open.secret, "join");
  const plain = unseal(key, `join|${invitation}`, sealed);
  const asked = Request.safeParse(parseJson(plain?.toString() ?? "")).data;
  if (!asked) return;
  const reason = await members.admit(invitation, asked, clock.wall());
  const reply = reason === null ? { ok: true } : { ok: false, reason };
  const letter = seal(key, `joined|${asked.id}`, Buffer.from(JSON.stringify(reply)));
  await engine.redis.set(engine.key("joined", asked.id), letter, "PX", answerKeptMs);
  const { name: worker, host } = asked;
  if (reason === null) log.info("a worker has joined", { worker, host });
  else log.warn("a worker was refused", { worker, host, reason });
}
