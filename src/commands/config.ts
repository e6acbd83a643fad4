import type { Command } from "commander";
import { editOverlay } from "./config-edit.ts";
import { getOverlay, replaceOverlay, setInOverlay, unsetInOverlay } from "./config-overlay.ts";
import { configPath, getConfig, printSchema } from "./config-show.ts";
import type { Run } from "./context.ts";
import { examples } from "./help.ts";

const overlayPath = ["<path>", "dotted path, such as agent.max_turns"] as const;

export function declareConfig(command: Command, run: Run): void {
  examples(
    command,
    "symphony config get agent.max_turns",
    "symphony config get --origin",
    "symphony config overlay set agent.max_turns 5",
  );
  examples(
    command.command("get").description("print the configuration in force, or one part of it"),
    "symphony config get",
    "symphony config get agent.max_turns",
    "symphony config get codex --origin",
  )
    .argument("[path]", "dotted path; left out: everything")
    .option("--origin", "say where each value comes from")
    .action((path: string | undefined, options: { readonly origin?: boolean }) =>
      run((context) => getConfig({ path: path ?? null, ...options }, context)),
    );
  examples(
    command.command("schema").description("print the configuration's JSON Schema"),
    "symphony config schema > symphony.schema.json",
  ).action(() => run(printSchema));
  examples(
    command.command("path").description("print where the workflow file is"),
    "symphony config path",
    '"$EDITOR" "$(symphony config path)"',
  ).action(() => run(configPath));
  const overlay = command
    .command("overlay")
    .description("look at the overlay and change it; a change is in force at once");
  declareOverlay(overlay, run);
  declareWholeOverlay(overlay, run);
}

function declareOverlay(overlay: Command, run: Run): void {
  examples(
    overlay,
    "symphony config overlay set agent.max_turns 5",
    "symphony config overlay unset agent.max_turns",
    "symphony config overlay get",
  );
  examples(
    overlay.command("get").description("print the overlay, or one part of it"),
    "symphony config overlay get > overlay.json",
  )
    .argument("[path]", "dotted path; left out: everything")
    .action((path: string | undefined) => run((context) => getOverlay(path ?? null, context)));
  examples(
    overlay.command("set").description("put one value on top of the workflow file"),
    "symphony config overlay set agent.max_turns 5",
    "symphony config overlay set codex.model gpt-5-codex",
    `symphony config overlay set tracker.required_labels '["agent"]'`,
  )
    .argument(...overlayPath)
    .argument("<value>", "a number, true, false, null, JSON; anything else is text")
    .action((path: string, value: string) => run((context) => setInOverlay(path, value, context)));
  examples(
    overlay.command("unset").description("take one value out of the overlay"),
    "symphony config overlay unset agent.max_turns",
  )
    .argument(...overlayPath)
    .action((path: string) => run((context) => unsetInOverlay(path, context)));
}

function declareWholeOverlay(overlay: Command, run: Run): void {
  examples(
    overlay.command("replace").description("replace the whole overlay"),
    "symphony config overlay replace overlay.json",
    "symphony config overlay get | jq '.agent.max_turns = 5' | symphony config overlay replace -",
    "echo '{}' | symphony config overlay replace - --force",
  )
    .argument("<file>", "a JSON object; - reads it from stdin")
    .option("--force", "also over a change that somebody else makes meanwhile")
    .action((file: string, { force }: { readonly force?: boolean }) =>
      run((context) => replaceOverlay(file, force === true, context)),
    );
  examples(
    overlay.command("edit").description("edit the overlay in $VISUAL or $EDITOR"),
    "symphony config overlay edit",
  ).action(() => run(editOverlay));
}
