import { SymphonyError } from "../core/model/errors.ts";
import type { CommandContext } from "./context.ts";
import { exitCodes } from "./exit-codes.ts";
import { listerOf, onIssue } from "./issue-hints.ts";
import { numberOption } from "./numbers.ts";
import { type Cell, tableLines } from "./output.ts";
import { findTemplate } from "./template-names.ts";
import { plain } from "./terminal.ts";
import { textOrStdin } from "./text-input.ts";
import { relative } from "./times.ts";

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
