import { SymphonyError } from "../core/model/errors.ts";
import { keptFiles } from "../core/model/gates.ts";
import { row } from "./table.ts";

/** Runs the server; with `--dry-run` shows the plan of one poll. */
export const serveCommand = row({
  examples: [
    "symphony serve                      ./WORKFLOW.md on http://127.0.0.1:4000",
    "symphony serve --dry-run            what would run, and why the rest would not",
    "symphony serve team/WORKFLOW.md --port 0   on any free port",
    "symphony serve --webhook-url https://hooks.example.com   for the tracker",
    "symphony serve --restart-safe       only where turns outlive a restart",
    "symphony serve --once               one poll and its runs, then the exit code",
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
    {
      name: "port",
      value: "n",
      summary: "port to listen on; 0 for any free one (default: server.port, else 4000)",
      read: portOf,
    },
    {
      name: "host",
      value: "address",
      summary: "address to bind (default: server.host, else 127.0.0.1)",
    },
    {
      name: "webhook-url",
      value: "url",
      summary: "public address of this server, to be registered with the tracker",
      read: webhookUrlOf,
    },
    {
      name: "restart-safe",
      summary: "refuse to start where turns would not outlive a restart",
    },
    { name: "once", summary: "one poll and its runs, then exit" },
    {
      name: "i-understand",
      summary: "accept agent.level danger: agents may do everything this user may",
    },
    { name: "dry-run", summary: "print the plan of one poll and start nothing" },
    {
      name: "allow-unknown",
      summary:
        "start although a key that narrows what runs, caps it or chooses an agent is not known",
    },
    {
      name: "accept-loss",
      value: "name",
      summary: "start although this file of the data directory is missing, without what it held",
      choices: keptFiles,
      repeats: true,
    },
    {
      name: "log-format",
      value: "format",
      summary:
        "log on stderr: text (lines for a person), logfmt or json (default: text on a terminal, else logfmt)",
      choices: ["text", "logfmt", "json"],
    },
  ],
  stream: (given, context) =>
    given.dryRun ? null : import("./serve.ts").then(({ serve }) => serve(given, context)),
  async call({ workflow, allowUnknown, iUnderstand }, context) {
    const { planOfOnePoll } = await import("./plan.ts");
    return planOfOnePoll({ workflow, allowUnknown, iUnderstand }, context);
  },
  async print({ plan }, context) {
    const { printPlan } = await import("./plan.ts");
    await printPlan(plan, context);
  },
});

/** Runs the server on a sample project. */
export const demoCommand = row({
  examples: ["symphony demo", "symphony demo --port 0"],
  options: [
    {
      name: "port",
      value: "n",
      summary: "port to listen on; 0 for any free one (default: 4000)",
      read: portOf,
    },
  ],
  stream: ({ port }, context) => import("./demo.ts").then(({ demo }) => demo(port, context)),
});

function portOf(text: string, flag: string): number {
  const port = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (port <= 65_535) return port;
  throw new SymphonyError("usage", `${flag}: "${text}" is not a port`, {
    hint: "choose a number from 0 to 65535; 0 takes any free one",
  });
}

const loopbackHosts = ["localhost", "127.0.0.1", "[::1]"];

/** An address that the tracker may be given; one without a path is completed once the tracker is known. */
function webhookUrlOf(text: string, flag: string): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  const secure = url?.protocol === "https:";
  const local = url?.protocol === "http:" && loopbackHosts.includes(url.hostname);
  if (url === null || !(secure || local) || url.username !== "" || url.password !== "") {
    throw new SymphonyError("usage", `${flag} is not an https address`, {
      hint: "give the address that reaches this server from outside, as in https://hooks.example.com",
    });
  }
  return url.href;
}
