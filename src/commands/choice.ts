import type { Command } from "commander";
import type { Client } from "../client/client.ts";
import type { Api } from "../contract/api.ts";
import { SymphonyError } from "../core/model/errors.ts";
import type { CommandContext, Run } from "./context.ts";
import { closest, exitCodes, listerOf, onIssue } from "./failure.ts";
import { examples } from "./help.ts";
import { findTemplate } from "./templates.ts";

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
  const body = modelBodyOf(choice);
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

function modelBodyOf({ issue, name, effort, agent, clear }: Choice) {
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

const issueArgument = ["<issue>", "issue identifier, such as ENG-123"] as const;

export function declareTemplate(command: Command, run: Run): void {
  examples(command, "symphony template set ENG-123 review", "symphony template clear ENG-123");
  examples(
    command.command("set").description("prompt an issue with a template, from its next attempt on"),
    "symphony template set ENG-123 review",
  )
    .argument(...issueArgument)
    .argument("<template>", "name or id, as `symphony templates list` prints them")
    .action((issue: string, template: string) =>
      run((context) => chooseTemplate(issue, template, context)),
    );
  examples(
    command.command("clear").description("prompt an issue with the workflow's own template again"),
    "symphony template clear ENG-123",
  )
    .argument(...issueArgument)
    .action((issue: string) => run((context) => clearTemplate(issue, context)));
}

export async function chooseTemplate(
  id: string,
  given: string,
  context: CommandContext,
): Promise<number> {
  const client = await context.client();
  const template = await findTemplate(given, client);
  const body = { template_id: template.id };
  const reply = await onIssue(id, listerOf(client), () =>
    client.templates.choose({ params: { id }, body }),
  );
  if (context.json) context.printJson(reply);
  context.note(`${reply.issue_identifier} is prompted with ${template.name} from its next attempt`);
  return exitCodes.done;
}

export async function clearTemplate(id: string, context: CommandContext): Promise<number> {
  const client = await context.client();
  await onIssue(id, listerOf(client), () => client.templates.clear({ params: { id } }));
  if (context.json) context.printJson({ issue_identifier: id, template_id: null });
  context.note(`${id} is prompted with the workflow's own template from its next attempt`);
  return exitCodes.done;
}
