import type { Client } from "../client/client.ts";
import type { Api } from "../contract/api.ts";
import type { Reply } from "../contract/route.ts";
import { SymphonyError } from "../core/model/errors.ts";
import { parseJson } from "../core/text/text.ts";
import type { CommandContext } from "./context.ts";
import { exitCodes, hintAt, onServerIssue } from "./failure.ts";
import { textOfFile, textOrStdin, withEdited } from "./input.ts";
import { type Cell, plain, printPage, relative } from "./output.ts";
import { pageOptions, row, subcommand } from "./table.ts";

const templateArgument = {
  name: "template",
  summary: "name or id; `workflow` is the one in the workflow file",
} as const;
const fileArgument = {
  name: "file",
  summary: "Liquid text; - reads it from stdin (default: $EDITOR on a terminal)",
  optional: true,
  completion: "files",
} as const;
/** Its ending selects the editor's highlighting. */
const fileName = "template.md";

const listRow = subcommand({
  name: "list",
  summary: "list the prompt templates",
  examples: [
    "symphony templates list",
    "symphony templates list --json | jq -r '.templates[].name'",
  ],
  options: pageOptions(),
  call: async (query, context) => (await context.client()).templates.list({ query }),
  print(page, context) {
    const columns = [
      { title: "TEMPLATE", flexible: true },
      { title: "ID" },
      { title: "CHANGED", drop: 2 },
      { title: "VARIABLES", flexible: true, drop: 1 },
    ] as const;
    const rows = page.templates.map((one): Cell[] => [
      one.name,
      one.id,
      one.updated_at === null ? "in its file" : relative(one.updated_at, Date.now()),
      one.variables.join(", "),
    ]);
    return printPage({ columns, rows, page }, context);
  },
});

/** Only the text on stdout, so that it can be saved to a file and passed back. */
const showRow = subcommand({
  name: "show",
  summary: "print the text of a prompt template",
  examples: ["symphony templates show workflow", "symphony templates show review > review.md"],
  arguments: [templateArgument],
  call: async ({ template }, context) => findTemplate(template, await context.client()),
  print: ({ body }, { print }) => print(plain(body)),
});

const previewRow = subcommand({
  name: "preview",
  summary: "print the prompt that a template makes",
  inputErrors: ["template_render_error"],
  examples: [
    "symphony templates preview review                    for a sample issue",
    "symphony templates preview review --issue ENG-123",
    `symphony templates preview review --variables '{"attempt": 2}'`,
  ],
  arguments: [templateArgument],
  options: [
    { name: "issue", value: "issue", summary: "for this issue", completion: "issues" },
    {
      name: "variables",
      value: "json",
      summary: "a JSON object that lies over the sample's variables; - reads it from stdin",
    },
  ],
  call: (given, context) => preview(given, context),
  print: ({ rendered }, { print }) => print(plain(rendered)),
});

const createRow = subcommand({
  name: "create",
  summary: "add a prompt template",
  inputErrors: ["template_parse_error"],
  examples: [
    "symphony templates create review review.md",
    "symphony templates create review - < review.md",
    "symphony templates create review                     in $EDITOR",
  ],
  arguments: [{ name: "name", summary: "one line, at most 100 characters" }, fileArgument],
  async call({ name, file }, context) {
    const client = await context.client();
    const create = (body: string) => client.templates.create({ body: { name, body } });
    if (file !== undefined) return create(await textFrom(file, context));
    const instead = `symphony templates create ${name} FILE, or - to read it from stdin`;
    return withEdited({ text: "", name: fileName, instead }, context, create);
  },
  print: (template, context) => report(template, "created", context),
});

const editRow = subcommand({
  name: "edit",
  summary: "change the text or the name of a prompt template",
  inputErrors: ["template_parse_error"],
  examples: [
    "symphony templates edit review                       in $EDITOR",
    "symphony templates edit review review.md",
    "symphony templates edit review --name careful-review",
  ],
  arguments: [templateArgument, fileArgument],
  options: [
    { name: "name", value: "name", summary: "a new name; without a file the text is unchanged" },
  ],
  call: (given, context) => editTemplate(given, context),
  print: (template, context) => report(template, "changed", context),
});

const deleteRow = subcommand({
  name: "delete",
  summary: "delete a prompt template that is not chosen for any issue",
  examples: ["symphony templates delete review"],
  arguments: [templateArgument],
  async call({ template: given }, context) {
    const client = await context.client();
    const { id, name } = await findTemplate(given, client);
    if (!(await confirmed(`Delete the template ${name}?`, context))) return null;
    await client.templates.remove({ params: { id } });
    return { id, name, deleted: true };
  },
  print: (done, { note }) =>
    note(
      done === null
        ? "Nothing was deleted"
        : `${done.name} deleted; symphony templates list shows the others`,
    ),
  exitCode: (done) => (done === null ? exitCodes.failed : exitCodes.done),
});

/** Lists, shows, tries and writes prompt templates. */
export const templatesCommand = row({
  examples: [
    "symphony templates create review review.md",
    "symphony templates preview review --issue ENG-123",
    "symphony template set ENG-123 review",
  ],
  commands: [listRow, showRow, previewRow, createRow, editRow, deleteRow],
});

interface Preview {
  readonly template: string;
  readonly issue: string | undefined;
  readonly variables: string | undefined;
}

async function preview({ template, issue, variables }: Preview, context: CommandContext) {
  if (issue !== undefined && variables !== undefined) {
    throw new SymphonyError("usage", "--issue and --variables exclude each other");
  }
  const body = {
    ...(issue !== undefined && { issue }),
    ...(variables !== undefined && { variables: objectOf(await textOrStdin(variables, context)) }),
  };
  const client = await context.client();
  const { id } = await findTemplate(template, client);
  const render = () => client.templates.preview({ params: { id }, body });
  return issue === undefined ? render() : onServerIssue(issue, context, render);
}

function objectOf(text: string): Record<string, unknown> {
  const value = parseJson(text);
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>;
  }
  throw new SymphonyError("usage", "--variables is not a JSON object", {
    hint: `--variables '{"attempt": 2}'`,
  });
}

interface Edit {
  readonly template: string;
  readonly file: string | undefined;
  readonly name: string | undefined;
}

async function editTemplate({ template: given, file, name }: Edit, context: CommandContext) {
  const body = file === undefined ? undefined : await textFrom(file, context);
  const client = await context.client();
  const { id, body: before, read_only: readOnly } = await findTemplate(given, client);
  const change = (text: string | undefined) =>
    client.templates.edit({
      params: { id },
      body: { ...(name !== undefined && { name }), ...(text !== undefined && { body: text }) },
    });
  // A change that the server would refuse is refused before the user writes a text.
  const inEditor = body === undefined && name === undefined && !readOnly;
  if (!inEditor) return change(body);
  const instead = `symphony templates edit ${given} FILE, or - to read it from stdin`;
  return withEdited({ text: before, name: fileName, instead }, context, change);
}

/** A script needs no confirmation; a person on a terminal is asked, unless `--yes`. */
async function confirmed(message: string, context: CommandContext): Promise<boolean> {
  if (context.yes || !context.interactive) return true;
  const { confirm } = await import("@inquirer/prompts");
  const streams = { input: context.stdin, output: context.stderr };
  return confirm({ message, default: false }, streams);
}

async function textFrom(path: string, context: CommandContext): Promise<string> {
  if (path === "-") return textOrStdin(path, context);
  return (await textOfFile(path, context.cwd)).replace(/\r?\n$/, "");
}

/** Only the id on stdout, so that a script can keep it; the message on stderr. */
function report({ id, name }: TemplateFacts, what: string, { print, note }: CommandContext): void {
  print(id);
  note(`${name} ${what}; symphony template set ISSUE ${name} uses it for an issue`);
}

type TemplateFacts = Reply<Api["templates"]["detail"]>;

/** More than a server keeps. */
const every = 500;

/** The template with this id, or with this name in any case. Rejects with `template_not_found` and a suggestion. */
export async function findTemplate(given: string, client: Client<Api>): Promise<TemplateFacts> {
  const { templates } = await client.templates.list({ query: { limit: every } });
  const wanted = given.trim().toLowerCase();
  const found =
    templates.find(({ id }) => id === given) ??
    templates.find(({ name }) => name.toLowerCase() === wanted);
  if (found) return found;
  const names = templates.map(({ name }) => name);
  throw new SymphonyError("template_not_found", `there is no template ${given}`, {
    hint: hintAt(given, names, "symphony templates list"),
  });
}
