import { exitCodes } from "./failure.ts";
import { row } from "./table.ts";

/** The first set-up of a project. */
export const initCommand = row({
  examples: [
    "symphony init                        at most four questions, then the file",
    "symphony init --yes                  no question: the first choice of each",
    'symphony init --yes --issue "Fix the login page"      with a first issue',
    "symphony init --dry-run --yes        print the file and write nothing",
    "symphony init --tracker local --agent codex --level safe     for scripts",
    "symphony init --agent openai --provider http://127.0.0.1:11434/v1",
    "symphony init --yes --force          replace the file; a copy is kept",
  ],
  arguments: [
    {
      name: "workflow",
      summary: "the file to write (default: ./WORKFLOW.md)",
      optional: true,
      completion: "files",
    },
  ],
  options: [
    { name: "tracker", value: "kind", summary: "where issues come from, such as local" },
    {
      name: "project",
      value: "id",
      summary: "the tracker's project, by the last part of its address",
    },
    {
      name: "endpoint",
      value: "url",
      summary: "the tracker's address, where it is not the usual one",
    },
    {
      name: "agent",
      value: "name",
      summary: "the agent that works",
      choices: ["codex", "claude", "gemini", "opencode", "openai"],
    },
    {
      name: "provider",
      value: "url",
      summary: "of the built-in agent (default: $OPENAI_BASE_URL, or OpenAI)",
    },
    { name: "model", value: "id", summary: "of the built-in agent" },
    {
      name: "level",
      value: "level",
      summary: "what its commands may reach",
      choices: ["safe", "networked", "danger"],
    },
    {
      name: "issue",
      value: "title",
      summary:
        "create a first issue, in symphony's own tracker (the title says what is to be done)",
    },
    { name: "dry-run", summary: "print the file, and write and store nothing" },
    { name: "force", summary: "replace a file that exists; a copy of it is kept" },
  ],
  async call(given, context) {
    const { setUp } = await import("./setup.ts");
    return setUp(given, context);
  },
  async print(report, context) {
    const { printSetup } = await import("./setup.ts");
    printSetup(report, context);
  },
  exitCode({ refused, check }) {
    if (refused) return exitCodes.conflict;
    return check === null || check.ok ? exitCodes.done : exitCodes.failed;
  },
});
