import type { Command } from "commander";
import type { CommandContext, Run } from "./context.ts";
import { exitCodes } from "./exit-codes.ts";
import { examples } from "./help.ts";
import { listerOf, onIssue } from "./issue-hints.ts";
import { findTemplate } from "./template-names.ts";

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
