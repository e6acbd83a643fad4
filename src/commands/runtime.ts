import type { Command } from "commander";
import type { CommandContext, Run } from "./context.ts";
import { exitCodes } from "./exit-codes.ts";
import { examples } from "./help.ts";
import { factLines } from "./output.ts";
import { span } from "./times.ts";

export function declareRuntime(command: Command, run: Run): void {
  examples(command, "symphony runtime", "symphony runtime --json | jq -r .version").action(() =>
    run(runtime),
  );
}

export function declareRefresh(command: Command, run: Run): void {
  examples(command, "symphony refresh").action(() => run(refresh));
}

export async function runtime(context: CommandContext): Promise<number> {
  const client = await context.client();
  const facts = await client.system.runtime();
  if (context.json) {
    context.printJson(facts);
    return exitCodes.done;
  }
  const { server, tracker, agent } = facts;
  const health = tracker.healthy ? "healthy" : `failing: ${tracker.last_error?.message ?? "?"}`;
  const on = Object.entries(facts.features).flatMap(([name, enabled]) => (enabled ? [name] : []));
  const lines = factLines(
    [
      ["version", `${facts.version}, Node.js ${facts.node_version}, ${facts.platform}`],
      ["process", `${facts.pid}, up ${span(facts.uptime_seconds * 1_000)}`],
      ["address", `${server.host}:${server.port}, auth ${server.auth}`],
      ["workflow", facts.workflow_path],
      ["data", facts.data_dir],
      ["tracker", `${tracker.kind}, ${health}`],
      ["agent", [agent.kind, agent.model, agent.command].filter(Boolean).join(", ")],
      ["level", agent.level],
      ["features", on.join(", ") || "-"],
    ],
    await context.paint(),
  );
  context.print(lines.join("\n"));
  return exitCodes.done;
}

export async function refresh(context: CommandContext): Promise<number> {
  const client = await context.client();
  const reply = await client.system.refresh();
  if (context.json) context.printJson(reply);
  const joined = reply.coalesced ? ", together with one that was already due" : "";
  context.note(`Poll and reconcile are on their way${joined}`);
  return exitCodes.done;
}
