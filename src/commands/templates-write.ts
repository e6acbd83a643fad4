import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { messageOf, SymphonyError } from "../core/model/errors.ts";
import type { CommandContext } from "./context.ts";
import { exitCodes } from "./exit-codes.ts";
import { findTemplate, type TemplateFacts } from "./template-names.ts";
import { withEdited } from "./text-editor.ts";
import { textOrStdin } from "./text-input.ts";

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
