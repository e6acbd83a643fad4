import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import type { Command } from "commander";
import type { Client } from "../client/client.ts";
import type { Api } from "../contract/api.ts";
import type { Reply } from "../contract/route.ts";
import { messageOf, SymphonyError } from "../core/model/errors.ts";
import type { CommandContext, Run } from "./context.ts";
import { closest, exitCodes, listerOf, onIssue } from "./failure.ts";
import { examples } from "./help.ts";
import { numberOption, textOrStdin, withEdited } from "./input.ts";
import { type Cell, plain, relative, tableLines } from "./output.ts";

const templateArgument = ["<template>", "name or id; `workflow` is the workflow file's"] as const;
const fileArgument = [
  "[file]",
  "Liquid text; - reads it from stdin; left out: $EDITOR on a terminal",
] as const;

export function declareTemplates(command: Command, run: Run): void {
  examples(
    command,
    "symphony templates create review review.md",
    "symphony templates preview review --issue ENG-123",
    "symphony template set ENG-123 review",
  );
  declareReading(command, run);
  declareWriting(command, run);
}

function declareReading(command: Command, run: Run): void {
  examples(
    command.command("list").description("list the prompt templates"),
    "symphony templates list",
    "symphony templates list --json | jq -r '.templates[].name'",
  )
    .option("--limit <n>", "rows at most, 1 to 500 (default: 50)")
    .option("--offset <n>", "rows to pass over (default: 0)")
    .action((options) => run((context) => listTemplates(options, context)));
  examples(
    command.command("show").description("print the text of a prompt template"),
    "symphony templates show workflow",
    "symphony templates show review > review.md",
  )
    .argument(...templateArgument)
    .action((template: string) => run((context) => showTemplate(template, context)));
  examples(
    command.command("preview").description("print the prompt that a template makes"),
    "symphony templates preview review                    of a sample issue",
    "symphony templates preview review --issue ENG-123",
    `symphony templates preview review --variables '{"attempt": 2}'`,
  )
    .argument(...templateArgument)
    .option("--issue <issue>", "of this issue")
    .option(
      "--variables <json>",
      "a JSON object in place of the sample's own; - reads it from stdin",
    )
    .action((template: string, options) =>
      run((context) => previewTemplate(template, options, context)),
    );
}

function declareWriting(command: Command, run: Run): void {
  examples(
    command.command("create").description("add a prompt template"),
    "symphony templates create review review.md",
    "symphony templates create review - < review.md",
    "symphony templates create review                     in $EDITOR",
  )
    .argument("<name>", "one line, at most 100 characters")
    .argument(...fileArgument)
    .action((name: string, file: string | undefined) =>
      run((context) => createTemplate(name, file, context)),
    );
  examples(
    command.command("edit").description("change the text or the name of a prompt template"),
    "symphony templates edit review                       in $EDITOR",
    "symphony templates edit review review.md",
    "symphony templates edit review --name careful-review",
  )
    .argument(...templateArgument)
    .argument(...fileArgument)
    .option("--name <name>", "a new name; alone it leaves the text as it is")
    .action((template: string, file: string | undefined, options) =>
      run((context) => editTemplate({ template, file, ...options }, context)),
    );
  examples(
    command.command("delete").description("delete a prompt template that no issue overrides with"),
    "symphony templates delete review",
  )
    .argument(...templateArgument)
    .action((template: string) => run((context) => deleteTemplate(template, context)));
}

interface ListOptions {
  readonly limit?: string;
  readonly offset?: string;
}

export async function listTemplates(
  options: ListOptions,
  context: CommandContext,
): Promise<number> {
  const query = {
    ...numberOption("limit", options.limit),
    ...numberOption("offset", options.offset),
  };
  const page = await (await context.client()).templates.list({ query });
  if (context.json) {
    context.printJson(page);
    return exitCodes.done;
  }
  const columns = [
    { title: "TEMPLATE", flexible: true },
    { title: "ID" },
    { title: "CHANGED" },
    { title: "VARIABLES", flexible: true },
  ] as const;
  const rows = page.templates.map((one): Cell[] => [
    one.name,
    one.id,
    one.updated_at === null ? "in its file" : relative(one.updated_at, Date.now()),
    one.variables.join(", "),
  ]);
  const shape = { columns, rows, width: context.width, paint: await context.paint() };
  context.print(tableLines(shape).join("\n"));
  const left = page.total - page.offset - rows.length;
  if (left > 0) context.note(`${left} more: --offset ${page.offset + rows.length}`);
  return exitCodes.done;
}

/** The text alone on stdout, so that it can be kept in a file and given back. */
export async function showTemplate(given: string, context: CommandContext): Promise<number> {
  const template = await findTemplate(given, await context.client());
  if (context.json) context.printJson(template);
  else context.print(plain(template.body));
  return exitCodes.done;
}

interface PreviewOptions {
  readonly issue?: string;
  readonly variables?: string;
}

export async function previewTemplate(
  given: string,
  { issue, variables }: PreviewOptions,
  context: CommandContext,
): Promise<number> {
  if (issue !== undefined && variables !== undefined) {
    throw new SymphonyError("usage", "--issue and --variables exclude each other");
  }
  const body = {
    ...(issue !== undefined && { issue }),
    ...(variables !== undefined && { variables: objectOf(await textOrStdin(variables, context)) }),
  };
  const client = await context.client();
  const { id } = await findTemplate(given, client);
  const preview = () => client.templates.preview({ params: { id }, body });
  const reply = await (issue === undefined ? preview() : onIssue(issue, listerOf(client), preview));
  if (context.json) context.printJson(reply);
  else context.print(plain(reply.rendered));
  return exitCodes.done;
}

function objectOf(text: string): Record<string, unknown> {
  const value = parsed(text);
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>;
  }
  throw new SymphonyError("usage", "--variables is not a JSON object", {
    hint: `--variables '{"attempt": 2}'`,
  });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const fileName = "template.md";

export async function createTemplate(
  name: string,
  file: string | undefined,
  context: CommandContext,
): Promise<number> {
  const client = await context.client();
  const create = (body: string) => client.templates.create({ body: { name, body } });
  const instead = `symphony templates create ${name} FILE, or - to read it from stdin`;
  const made =
    file === undefined
      ? await withEdited({ text: "", name: fileName, instead }, context, create)
      : await create(await textFrom(file, context));
  return report(made, "created", context);
}

interface Edit {
  readonly template: string;
  readonly file: string | undefined;
  readonly name?: string;
}

export async function editTemplate(
  { template: given, file, name }: Edit,
  context: CommandContext,
): Promise<number> {
  const body = file === undefined ? undefined : await textFrom(file, context);
  const client = await context.client();
  const { id, body: before, read_only: readOnly } = await findTemplate(given, client);
  const change = (text: string | undefined) =>
    client.templates.edit({
      params: { id },
      body: { ...(name !== undefined && { name }), ...(text !== undefined && { body: text }) },
    });
  const instead = `symphony templates edit ${given} FILE, or - to read it from stdin`;
  // What cannot be changed is refused before anybody writes it.
  const inEditor = body === undefined && name === undefined && !readOnly;
  const edited = inEditor
    ? await withEdited({ text: before, name: fileName, instead }, context, change)
    : await change(body);
  return report(edited, "changed", context);
}

export async function deleteTemplate(given: string, context: CommandContext): Promise<number> {
  const client = await context.client();
  const template = await findTemplate(given, client);
  if (!(await confirmed(`Delete the template ${template.name}?`, context))) {
    context.note("Nothing was deleted");
    return exitCodes.failed;
  }
  await client.templates.remove({ params: { id: template.id } });
  if (context.json) context.printJson({ id: template.id, name: template.name, deleted: true });
  context.note(`${template.name} deleted`);
  return exitCodes.done;
}

/** A script that says it means it; a person on a terminal is asked, unless `--yes`. */
async function confirmed(message: string, context: CommandContext): Promise<boolean> {
  if (context.yes || !context.interactive) return true;
  const { confirm } = await import("@inquirer/prompts");
  const streams = { input: context.stdin, output: context.stderr };
  return confirm({ message, default: false }, streams);
}

async function textFrom(path: string, context: CommandContext): Promise<string> {
  if (path === "-") return textOrStdin(path, context);
  const file = resolve(context.cwd, path);
  const text = await readFile(file, "utf8").catch((cause: unknown) => {
    throw new SymphonyError("usage", `Cannot read ${file}: ${messageOf(cause)}`, { cause });
  });
  return text.replace(/\r?\n$/, "");
}

/** The id alone on stdout, so that a script can keep it; what happened on stderr. */
function report(template: TemplateFacts, what: string, context: CommandContext): number {
  if (context.json) context.printJson(template);
  else context.print(template.id);
  context.note(`${template.name} ${what}`);
  return exitCodes.done;
}

export type TemplateFacts = Reply<Api["templates"]["detail"]>;

/** More than a server keeps. */
const every = 500;

/** The template with this id, or with this name in any case. Rejects with `template_not_found` and what was meant. */
export async function findTemplate(given: string, client: Client<Api>): Promise<TemplateFacts> {
  const { templates } = await client.templates.list({ query: { limit: every } });
  const wanted = given.trim().toLowerCase();
  const found =
    templates.find(({ id }) => id === given) ??
    templates.find(({ name }) => name.toLowerCase() === wanted);
  if (found) return found;
  const meant = closest(
    given,
    templates.map(({ name }) => name),
  );
  throw new SymphonyError("template_not_found", `there is no template ${given}`, {
    hint: meant === null ? "symphony templates list" : `did you mean ${meant}?`,
  });
}
