import type { Command } from "commander";
import type { CommandContext, Run } from "./context.ts";
import { exitCodes } from "./exit-codes.ts";
import { examples } from "./help.ts";
import { tableLines } from "./output.ts";

export function declareModels(command: Command, run: Run): void {
  examples(command, "symphony models", "symphony models --json | jq -r '.models[].id'").action(() =>
    run(models),
  );
}

export async function models(context: CommandContext): Promise<number> {
  const reply = await (await context.client()).models.list();
  if (context.json) {
    context.printJson(reply);
    return exitCodes.done;
  }
  const columns = [{ title: "MODEL" }, { title: "OWNER" }, { title: "CREATED" }] as const;
  const rows = reply.models.map(({ id, owned_by: owner, created_at: created }) => [
    id,
    owner ?? "-",
    created?.slice(0, 10) ?? "-",
  ]);
  const shape = { columns, rows, width: context.width, paint: await context.paint() };
  context.print(tableLines(shape).join("\n"));
  const { kind, base_url: url } = reply.provider;
  context.note(`${rows.length} of ${kind}${url === null ? "" : `, ${url}`}`);
  return exitCodes.done;
}
