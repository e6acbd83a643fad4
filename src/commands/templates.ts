import type { Command } from "commander";
import type { Run } from "./context.ts";
import { examples } from "./help.ts";
import { listTemplates, previewTemplate, showTemplate } from "./templates-read.ts";
import { createTemplate, deleteTemplate, editTemplate } from "./templates-write.ts";

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
