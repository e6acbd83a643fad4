import { exitCodes } from "./failure.ts";
import { row } from "./table.ts";

/** The checks that a start and a run make, one by one. */
export const doctorCommand = row({
  examples: [
    "symphony doctor              every check, and the command that mends a fault",
    "symphony doctor --fix        mend what is safe to mend, then check",
    "symphony doctor --smoke      also a turn of the agent: a few tokens",
    "symphony doctor --json       for scripts: exit code 1 when a check fails",
    "symphony doctor --bundle support.json   for a report, without secrets",
  ],
  arguments: [
    {
      name: "workflow",
      summary: "the workflow file (default: ./WORKFLOW.md)",
      optional: true,
      completion: "files",
    },
  ],
  options: [
    { name: "fix", summary: "mend what is safe to mend first, and say what was done" },
    { name: "smoke", summary: "run one turn of each agent; without it none is run" },
    {
      name: "bundle",
      value: "file",
      summary: "write the results, the configuration, events and log there, without secrets",
      completion: "files",
    },
    {
      name: "allow-unknown",
      summary: "a key that narrows what runs, caps it or chooses an agent is only a warning",
    },
  ],
  async call(given, context) {
    const { diagnose } = await import("./examination.ts");
    return diagnose(given, context);
  },
  async print(report, context) {
    const { printSummary } = await import("./examination.ts");
    await printSummary(report, context);
  },
  exitCode: ({ ok }) => (ok ? exitCodes.done : exitCodes.failed),
});
