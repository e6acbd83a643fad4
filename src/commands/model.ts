import type { Command } from "commander";
import type { Client } from "../client/client.ts";
import type { Api } from "../contract/api.ts";
import { SymphonyError } from "../core/model/errors.ts";
import type { CommandContext, Run } from "./context.ts";
import { exitCodes } from "./exit-codes.ts";
import { examples } from "./help.ts";
import { listerOf, onIssue } from "./issue-hints.ts";
import { closest } from "./suggest.ts";

interface ModelOptions {
  readonly effort?: string;
  readonly agent?: string;
  readonly clear?: boolean;
}

export function declareModel(command: Command, run: Run): void {
  examples(
    command,
    "symphony model ENG-123 gpt-5.5",
    "symphony model ENG-123 gpt-5.5 --effort high",
    "symphony model ENG-123 --agent openai        another agent with its model",
    "symphony model ENG-123 --clear               the configured model again",
  )
    .argument("<issue>", "issue identifier, such as ENG-123")
    .argument("[name]", "model of the provider")
    .option(
      "--effort <word>",
      "reasoning effort, such as low, medium or high (default: the agent's)",
    )
    .option(
      "--agent <kind>",
      "another agent: codex, openai, command or acp (default: as configured)",
    )
    .option("--clear", "forget the choice")
    .action((issue: string, name: string | undefined, options: ModelOptions) =>
      run((context) => chooseModel({ issue, name, ...options }, context)),
    );
}

interface Choice extends ModelOptions {
  readonly issue: string;
  readonly name: string | undefined;
}

export async function chooseModel(choice: Choice, context: CommandContext): Promise<number> {
  const { issue: id } = choice;
  const body = bodyOf(choice);
  const client = await context.client();
  const reply = await onIssue(id, listerOf(client), () =>
    client.issues.model({ params: { id }, body }),
  );
  if (context.json) context.printJson(reply);
  const when = reply.applies === "next_turn" ? "the next turn" : "the next attempt";
  const what = [reply.agent, reply.model ?? "the configured model", reply.reasoning_effort];
  context.note(`${reply.issue_identifier}: ${what.filter(Boolean).join(", ")} from ${when} on`);
  if (reply.model !== null && !context.json && !context.quiet)
    await warnOfSlip(reply.model, client, context);
  return exitCodes.done;
}

/** A model that the provider does not list may work all the same; nobody is asked or waited for to find out. */
async function warnOfSlip(
  name: string,
  client: Client<Api>,
  { note }: CommandContext,
): Promise<void> {
  const query = { cached: "true" } as const;
  const known = await client.models.list({ query }).catch(() => null);
  const ids = known?.models.map(({ id }) => id) ?? [];
  if (ids.length === 0 || ids.includes(name)) return;
  const meant = closest(name, ids);
  note(
    `${name} is not among the provider's models${meant === null ? "" : `; did you mean ${meant}?`}`,
  );
}

const kinds = ["codex", "openai", "command", "acp"] as const;

function bodyOf({ issue, name, effort, agent, clear }: Choice) {
  if (clear === true && (name ?? effort ?? agent) === undefined) return { model: null };
  const kind = kinds.find((one) => one === agent);
  if (agent !== undefined && kind === undefined) {
    throw new SymphonyError("usage", `there is no agent ${agent}`, {
      hint: `one of ${kinds.join(", ")}`,
    });
  }
  if (clear !== true && (name ?? kind) !== undefined) {
    return {
      model: name ?? null,
      ...(effort !== undefined && { reasoning_effort: effort }),
      ...(kind !== undefined && { agent: kind }),
    };
  }
  throw new SymphonyError("usage", "name a model, or give --clear alone", {
    hint: `symphony model ${issue} NAME, or symphony model ${issue} --clear`,
  });
}
