import type { Command } from "commander";
import { SymphonyError } from "../core/model/errors.ts";
import type { Run } from "./context.ts";
import { examples } from "./help.ts";

interface ServeFlags {
  readonly port?: string;
  readonly host?: string;
  readonly once?: boolean;
  readonly dryRun?: boolean;
  readonly iUnderstand?: boolean;
  readonly logFormat: "text" | "json";
  readonly webhookUrl?: string;
  readonly restartSafe?: boolean;
}

export function declareServe(command: Command, run: Run): void {
  examples(
    command,
    "symphony serve                               ./WORKFLOW.md on http://127.0.0.1:4000",
    "symphony serve --dry-run                     what would run, and why the rest would not",
    "symphony serve team/WORKFLOW.md --port 0     on any free port",
    "symphony serve --webhook-url https://hooks.example.com   the tracker tells of changes there",
    "symphony serve --restart-safe                only where turns outlive a restart of the server",
    "symphony serve --once                        one poll and its runs, then exit by outcome",
  )
    .argument("[workflow]", "the workflow file (default: ./WORKFLOW.md)")
    .option("--port <n>", "port to listen on; 0 for any free one (default: server.port, else 4000)")
    .option("--host <address>", "address to bind (default: server.host, else 127.0.0.1)")
    .option(
      "--webhook-url <url>",
      "public address of this server, to be registered with the tracker",
    )
    .option("--restart-safe", "refuse to start where turns would not outlive a restart")
    .option("--once", "one poll and its runs, then exit")
    .option("--i-understand", "accept agent.level danger: agents may do everything this user may")
    .option("--dry-run", "print the plan of one poll and start nothing");
  command
    .addOption(
      command
        .createOption("--log-format <format>", "how to write the log to stderr: text or json")
        .choices(["text", "json"])
        .default("text"),
    )
    .action((workflow: string | undefined, flags: ServeFlags) =>
      run(async (context) => {
        const { serve } = await import("./serve.ts");
        const options = {
          workflowPath: workflow ?? null,
          port: portOf(flags.port),
          host: flags.host ?? null,
          dataDir: context.where.dataDir ?? null,
          once: flags.once === true,
          dryRun: flags.dryRun === true,
          understood: flags.iUnderstand === true,
          logFormat: flags.logFormat,
          webhookUrl: webhookUrlOf(flags.webhookUrl),
          restartSafe: flags.restartSafe === true,
        };
        return serve(options, context);
      }),
    );
}

export function declareDemo(command: Command, run: Run): void {
  examples(command, "symphony demo", "symphony demo --port 0")
    .option("--port <n>", "port to listen on; 0 for any free one (default: 4000)")
    .action(({ port }: { readonly port?: string }) =>
      run(async (context) => {
        const { demo } = await import("./demo.ts");
        return demo({ port: portOf(port) }, context);
      }),
    );
}

function portOf(text: string | undefined): number | null {
  if (text === undefined) return null;
  const port = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (port <= 65_535) return port;
  throw new SymphonyError("usage", `--port: "${text}" is not a port`, {
    hint: "choose a number from 0 to 65535; 0 takes any free one",
  });
}

const loopbackHosts = ["localhost", "127.0.0.1", "[::1]"];

/** An address that the tracker may be given; one without a path is completed once the tracker is known. */
function webhookUrlOf(text: string | undefined): string | null {
  if (text === undefined) return null;
  const url = URL.canParse(text) ? new URL(text) : null;
  const secure = url?.protocol === "https:";
  const local = url?.protocol === "http:" && loopbackHosts.includes(url.hostname);
  if (url === null || !(secure || local) || url.username !== "" || url.password !== "") {
    throw new SymphonyError("usage", "--webhook-url is not an https address", {
      hint: "give the address that reaches this server from outside, as in https://hooks.example.com",
    });
  }
  return url.href;
}
