import { SymphonyError } from "../core/model/errors.ts";
import { sizeText } from "../core/text/text.ts";
import type { CommandContext } from "./context.ts";
import { closest, onServerIssue } from "./failure.ts";
import { issueArgument, row, subcommand } from "./table.ts";
import { findTemplate } from "./templates.ts";

/** Chooses the model, and with it the agent, of one issue. */
export const modelCommand = row({
  examples: [
    "symphony model ENG-123 gpt-5.5",
    "symphony model ENG-123 gpt-5.5 --effort high",
    "symphony model ENG-123 --agent openai        another agent with its model",
    "symphony model ENG-123 --clear               the configured model again",
  ],
  arguments: [issueArgument, { name: "name", summary: "model of the provider", optional: true }],
  options: [
    {
      name: "effort",
      value: "word",
      summary: "reasoning effort, such as low, medium or high (default: the agent's)",
    },
    {
      name: "agent",
      value: "name",
      summary: "another agent: a name in agents, or a kind (default: as configured)",
    },
    { name: "clear", summary: "forget the choice" },
  ],
  call(choice, context) {
    const { issue: id } = choice;
    const body = modelBodyOf(choice);
    return onServerIssue(id, context, (client) => client.issues.model({ params: { id }, body }));
  },
  async print(reply, context) {
    const when = reply.applies === "next_turn" ? "the next turn" : "the next attempt";
    const what = [reply.agent, reply.model ?? "the configured model", reply.reasoning_effort];
    const { issue_identifier: name } = reply;
    const back = reply.model === null ? "" : `; symphony model ${name} --clear takes it back`;
    context.note(`${name}: ${what.filter(Boolean).join(", ")} from ${when} on${back}`);
    if (reply.model !== null && !context.quiet) await warnOfSlip(reply.model, context);
  },
});

/** An unlisted model may still work, so the command does not wait longer for the list. */
const listMs = 5_000;

async function warnOfSlip(name: string, { client, note }: CommandContext): Promise<void> {
  const server = await client();
  const known = await server.models.list({}, { timeoutMs: listMs }).catch(() => null);
  const ids = known?.models.map(({ id }) => id) ?? [];
  if (ids.length === 0 || ids.includes(name)) return;
  const meant = closest(name, ids);
  note(
    `${name} is not among the provider's models${meant === null ? "" : `; did you mean ${meant}?`}`,
  );
}

interface Choice {
  readonly issue: string;
  readonly name: string | undefined;
  readonly effort: string | undefined;
  readonly agent: string | undefined;
  readonly clear: boolean;
}

function modelBodyOf({ issue, name, effort, agent, clear }: Choice) {
  if (clear && (name ?? effort ?? agent) === undefined) return { model: null };
  if (!clear && (name ?? agent) !== undefined) {
    return {
      model: name ?? null,
      ...(effort !== undefined && { reasoning_effort: effort }),
      ...(agent !== undefined && { agent }),
    };
  }
  throw new SymphonyError("usage", "name a model, or give --clear alone", {
    hint: `symphony model ${issue} NAME, or symphony model ${issue} --clear`,
  });
}

/** Chooses the prompt template of one issue. */
export const templateCommand = row({
  examples: ["symphony template set ENG-123 review", "symphony template clear ENG-123"],
  commands: [
    subcommand({
      name: "set",
      summary: "prompt an issue with a template, from its next attempt on",
      examples: ["symphony template set ENG-123 review"],
      arguments: [
        issueArgument,
        { name: "template", summary: "name or id, as `symphony templates list` prints them" },
      ],
      async call({ issue: id, template: given }, context) {
        const { id: template_id, name } = await findTemplate(given, await context.client());
        const reply = await onServerIssue(id, context, (client) =>
          client.templates.choose({ params: { id }, body: { template_id } }),
        );
        return { reply, name };
      },
      document: ({ reply }) => reply,
      print: ({ reply, name }, { note }) =>
        note(
          `${reply.issue_identifier} is prompted with ${name} from its next attempt; symphony template clear ${reply.issue_identifier} takes it back`,
        ),
    }),
    subcommand({
      name: "clear",
      summary: "prompt an issue with the workflow's own template again",
      examples: ["symphony template clear ENG-123"],
      arguments: [issueArgument],
      async call({ issue: id }, context) {
        await onServerIssue(id, context, (client) => client.templates.clear({ params: { id } }));
        return { issue_identifier: id, template_id: null };
      },
      print: ({ issue_identifier: issue }, { note }) =>
        note(
          `${issue} is prompted with the workflow's own template from its next attempt; symphony explain ${issue} says which`,
        ),
    }),
  ],
});

/** Moves an issue to a worker of the fleet. */
export const moveCommand = row({
  examples: ["symphony move ENG-123 --to build-2", "symphony move ENG-123 --to any"],
  arguments: [issueArgument],
  options: [
    {
      name: "to",
      value: "worker",
      summary: "the worker, as symphony workers list shows it; any: wherever there is room again",
    },
  ],
  call({ issue: id, to }, context) {
    if (to === undefined) {
      throw new SymphonyError("usage", "name the worker", {
        hint: `symphony move ${id} --to WORKER; symphony workers list shows them`,
      });
    }
    const body = { worker: to === "any" ? null : to };
    return onServerIssue(id, context, (client) => client.issues.move({ params: { id }, body }));
  },
  print({ issue_identifier: name, worker, from, applies, bytes }, { note }) {
    if (worker === null) return note(`${name} runs on any worker again`);
    const size = bytes === null ? "" : ` with its workspace (${sizeText(bytes)})`;
    const when =
      applies === "now" ? `, once the attempt on ${from} has ended` : " from its next attempt on";
    note(
      `${name} runs on ${worker}${when}${size}; symphony explain ${name} says what it waits for`,
    );
  },
});
