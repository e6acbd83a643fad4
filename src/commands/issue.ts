import type { Command } from "commander";
import type { Run } from "./context.ts";
import { examples } from "./help.ts";
import { listIssues, showIssue } from "./issue-read.ts";
import {
  closeIssue,
  commentOnIssue,
  createIssue,
  editIssue,
  importIssue,
  moveIssue,
} from "./issue-write.ts";

const issueArgument = ["<issue>", "issue identifier, such as ENG-123"] as const;

export function declareIssue(command: Command, run: Run): void {
  examples(
    command,
    'symphony issue create --title "Fix the login page" --label bug',
    "symphony issue list --state Todo",
    "symphony issue show ENG-123",
  );
  declareReading(command, run);
  declareFields(
    examples(
      command.command("create").description("create an issue in the local tracker"),
      'symphony issue create --title "Fix the login page" --label bug --priority 2',
      "symphony issue create --title Notes --description - < notes.md",
      'id=$(symphony issue create --title "Try it" --quiet)',
    ),
  ).action((options) => run((context) => createIssue(options, context)));
  declareFields(
    examples(
      command.command("edit").description("change an issue of the local tracker"),
      "symphony issue edit LOCAL-7 --priority 1 --label bug --label urgent",
      "symphony issue edit LOCAL-7 --priority none",
    ).argument(...issueArgument),
  ).action((issue: string, options) => run((context) => editIssue(issue, options, context)));
  declareMoves(command, run);
}

function declareReading(command: Command, run: Run): void {
  examples(
    command.command("show").description("show an issue: status, live attempt, latest events"),
    "symphony issue show ENG-123",
    "symphony issue show ENG-123 --json | jq .status",
  )
    .argument(...issueArgument)
    .action((issue: string) => run((context) => showIssue(issue, context)));
  examples(
    command.command("list").description("list the issues of the tracker"),
    "symphony issue list",
    'symphony issue list --state "In Progress" --json',
  )
    .option("--state <name>", "only those in this state of the tracker")
    .option("--limit <n>", "rows at most, 1 to 500 (default: 50)")
    .option("--offset <n>", "rows to pass over (default: 0)")
    .action((options) => run((context) => listIssues(options, context)));
}

/** The fields of an issue; lists replace what there was. */
function declareFields(command: Command): Command {
  const collect = (value: string, all: readonly string[] = []) => [...all, value];
  return command
    .option("--title <text>", "one line, at most 1,000 characters")
    .option("--description <text>", "Markdown; - reads it from stdin")
    .option("--label <name>", "a label; repeatable", collect)
    .option("--priority <n>", "1 urgent, 2 high, 3 medium, 4 low, or none")
    .option("--blocked-by <issue>", "an issue that must end first; repeatable", collect)
    .option("--state <name>", "a state of the tracker");
}

function declareMoves(command: Command, run: Run): void {
  examples(
    command.command("move").description("put an issue of the local tracker into a state"),
    'symphony issue move LOCAL-7 "In Progress"',
  )
    .argument(...issueArgument)
    .argument("<state>", "a state of the tracker")
    .action((issue: string, state: string) => run((context) => moveIssue(issue, state, context)));
  examples(
    command.command("comment").description("comment on an issue of the local tracker"),
    'symphony issue comment LOCAL-7 "see the log of Monday"',
    "symphony issue comment LOCAL-7 - < notes.md",
  )
    .argument(...issueArgument)
    .argument("<text>", "Markdown; - reads it from stdin")
    .action((issue: string, text: string) =>
      run((context) => commentOnIssue(issue, text, context)),
    );
  examples(
    command.command("close").description("put an issue of the local tracker into an end state"),
    "symphony issue close LOCAL-7",
    "symphony issue close LOCAL-7 --state Cancelled",
  )
    .argument(...issueArgument)
    .option("--state <name>", "which end state (default: Done, else the tracker's first)")
    .action((issue: string, options) => run((context) => closeIssue(issue, options, context)));
  examples(
    command.command("import").description("create an issue from a Markdown file"),
    "symphony issue import idea.md",
  )
    .argument(
      "<file>",
      "front matter with title, labels, priority, state, blocked_by; or a heading",
    )
    .action((file: string) => run((context) => importIssue(file, context)));
}
