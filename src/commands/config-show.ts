import { SymphonyError } from "../core/model/errors.ts";
import type { CommandContext } from "./context.ts";
import { exitCodes } from "./exit-codes.ts";
import { jsonText } from "./json-text.ts";
import { tableLines } from "./output.ts";
import { closest } from "./suggest.ts";
import { plain } from "./terminal.ts";

interface Wish {
  /** null: everything. */
  readonly path: string | null;
  readonly origin?: boolean;
}

/** Prints what is in force: one value as it is, more than one as a table of dotted paths. */
export async function getConfig({ path, origin }: Wish, context: CommandContext): Promise<number> {
  const client = await context.client();
  const { config, origins } = await client.config.show();
  const value = path === null ? config : valueAt(config, path);
  const below = Object.entries(origins).filter(([key]) => isWithin(key, path));
  if (value === undefined) throw unknownPath(path ?? "", Object.keys(origins));
  if (context.json) {
    context.printJson(origin ? { value, origins: Object.fromEntries(below) } : value);
    return exitCodes.done;
  }
  if (!origin && below.length <= 1 && below[0]?.[0] === path) {
    context.print(textOf(value));
    return exitCodes.done;
  }
  const rows = below.map(([key, from]) => [
    key,
    jsonText(valueAt(config, key), 0),
    ...(origin ? [from] : []),
  ]);
  const columns = [
    { title: "KEY" },
    { title: "VALUE", flexible: true },
    ...(origin ? [{ title: "ORIGIN" }] : []),
  ];
  const paint = await context.paint();
  context.print(tableLines({ columns, rows, width: context.width, paint }).join("\n"));
  return exitCodes.done;
}

export async function printSchema(context: CommandContext): Promise<number> {
  const client = await context.client();
  context.printJson(await client.config.schema());
  return exitCodes.done;
}

export async function configPath(context: CommandContext): Promise<number> {
  const client = await context.client();
  const { workflow_path: path } = await client.system.runtime();
  if (context.json) context.printJson({ workflow_path: path });
  else context.print(plain(path));
  return exitCodes.done;
}

/** Text without quotes, for a script; anything else as JSON. */
export function textOf(value: unknown): string {
  return typeof value === "string" ? plain(value) : jsonText(value);
}

/** What stands at a dotted path, whose keys may hold dots themselves; undefined when nothing does. */
export function valueAt(values: unknown, path: string): unknown {
  if (typeof values !== "object" || values === null || Array.isArray(values)) return undefined;
  for (const [key, value] of Object.entries(values)) {
    if (key === path) return value;
    const found = path.startsWith(`${key}.`)
      ? valueAt(value, path.slice(key.length + 1))
      : undefined;
    if (found !== undefined) return found;
  }
  return undefined;
}

export function unknownPath(path: string, known: readonly string[]): SymphonyError {
  const sections = known.map((key) => key.slice(0, Math.max(key.lastIndexOf("."), 0)));
  const meant = closest(
    path,
    [...new Set([...known, ...sections])].filter((key) => key !== ""),
  );
  return new SymphonyError("not_found", `There is no ${path}`, {
    hint: meant === null ? "symphony config get lists every key" : `did you mean ${meant}?`,
  });
}

function isWithin(key: string, path: string | null): boolean {
  return path === null || key === path || key.startsWith(`${path}.`);
}
