import type { Client } from "../client/client.ts";
import type { Api } from "../contract/api.ts";
import type { Reply } from "../contract/route.ts";
import { SymphonyError } from "../core/model/errors.ts";
import type { CommandContext } from "./context.ts";
import { onServerIssue } from "./failure.ts";
import { askOptional, openProgram } from "./input.ts";
import { plainLine } from "./output.ts";
import { type OwnProgram, openOwnProgram, ownPrograms } from "./own-program.ts";
import { issueArgument, row } from "./table.ts";

interface Given {
  readonly issue: string;
  readonly interrupt: boolean;
  readonly done: boolean;
  readonly with: OwnProgram | undefined;
  readonly note: string | undefined;
}

type Attached = Reply<Api["issues"]["attach"]>;
type Detached = Reply<Api["issues"]["detach"]>;

/** Holds the issue, opens a shell or the person's own agent in its workspace, and hands what the person changed to the agent. */
export const attachCommand = row({
  examples: [
    "symphony attach ENG-123                 a shell there; exit hands it back",
    "symphony attach ENG-123 --with claude   your own claude, on its session",
    "symphony attach ENG-123 --interrupt     stop its agent first",
    'symphony attach ENG-123 --done --note "the parser is right now; add tests"',
    "symphony attach ENG-123 --json          only hold it, and print the place",
  ],
  arguments: [issueArgument],
  options: [
    { name: "interrupt", summary: "stop an agent that works on it first" },
    {
      name: "with",
      value: "program",
      summary: "open your own codex or claude instead of a shell, on the thread of the agent",
      choices: ownPrograms,
    },
    { name: "done", summary: "hand it back to the agent, without a shell" },
    { name: "note", value: "text", summary: "what to tell the agent (at most 4,000 characters)" },
  ],
  call(given, context) {
    if (given.with !== undefined && (given.done || context.json)) {
      const message = `--with opens a program, and ${given.done ? "--done" : "--json"} opens none`;
      throw new SymphonyError("usage", message, { hint: "leave out one of them" });
    }
    return onServerIssue(given.issue, context, (client) =>
      given.done ? detach(given, client) : attach(given, client, context),
    );
  },
  print(reply, { note }) {
    if ("path" in reply) return;
    const { issue_identifier: name, attached, changed_files: count, truncated } = reply;
    if (!attached) {
      note(`${plainLine(name)} was handed back before: your note will be in the agent's next turn`);
      return;
    }
    const files = `${count} changed ${count === 1 ? "file" : "files"}`;
    const what = count === null ? "your note" : files;
    const cut = truncated ? "; the diff is long, so the agent reads its beginning" : "";
    note(`${plainLine(name)} is queued again: ${what} will be in the agent's next turn${cut}`);
  },
});

async function attach(
  given: Given,
  client: Client<Api>,
  context: CommandContext,
): Promise<Attached | Detached> {
  const { issue: id, interrupt } = given;
  const back = `symphony attach ${id} --done`;
  const shown = given.with ?? "a shell";
  if (!context.json && !context.interactive) {
    throw new SymphonyError("usage", `there is no terminal to open ${shown} on`, {
      hint: `symphony attach ${id} --json holds it and prints its workspace; ${back} hands it back`,
    });
  }
  const detail = await client.issues.detail({ params: { id } });
  const place = detail.attempts.latest[0]?.workspace?.path ?? detail.workspace.path;
  if (!context.json) requireHere(place, id);
  const attached = await client.issues.attach({ params: { id }, body: { interrupt } });
  if (context.json) return attached;
  const name = attached.issue_identifier;
  context.note(
    `${name} is held. You are in ${attached.path}, with your own rights on an agent's files.`,
  );
  context.note(`Leave ${given.with ?? "with exit"}: what you change is the agent's next turn`);
  let note = given.note;
  try {
    await open(attached, given.with, context);
    const question = { message: "A note for the agent (empty: none)" };
    note ??= await askOptional(question, context);
    return await detach({ ...given, note }, client);
  } catch (error) {
    const isOver = error instanceof SymphonyError && error.code === "not_attached";
    if (isOver) context.note(`${name} was handed back, or moved, by another request meanwhile`);
    else context.note(`${name} is still held: ${back} hands it back`);
    if (note?.trim()) context.note(`Your note, to give again: ${plainLine(note)}`);
    throw error;
  }
}

/** Resolves when the person has left. */
async function open(
  attached: Attached,
  program: OwnProgram | undefined,
  context: CommandContext,
): Promise<void> {
  const { path: cwd, issue_identifier: name } = attached;
  const env: CommandContext["env"] = { ...context.env, SYMPHONY_ISSUE_IDENTIFIER: name };
  if (program !== undefined) return openOwnProgram(program, attached, { ...context, env });
  const file = env["SHELL"] || "sh";
  await openProgram({ file, args: [], cwd, env, hint: "set SHELL" });
}

/** A shell can only be opened where the workspace is. */
function requireHere(path: string | null, id: string): void {
  const { existsSync } = process.getBuiltinModule("node:fs");
  if (path !== null && existsSync(path)) return;
  throw new SymphonyError("workspace_not_found", `the workspace of ${id} is not on this machine`, {
    hint: path === null ? `symphony issue show ${id}` : `run this where ${path} is`,
  });
}

function detach({ issue: id, note }: Given, client: Client<Api>): Promise<Detached> {
  const body = note === undefined || note.trim() === "" ? {} : { note };
  return client.issues.detach({ params: { id }, body });
}
