import { exitCodes } from "./failure.ts";
import { row } from "./table.ts";

/** The server as a service of the user's own service manager. */
export const serviceCommand = row({
  examples: [
    "symphony service install             start it now, and at each login",
    "symphony service status",
    "symphony service print --manager launchd",
    "symphony service uninstall",
  ],
  arguments: [
    {
      name: "what",
      summary: "what to do",
      choices: ["install", "status", "uninstall", "print"],
    },
    {
      name: "workflow",
      summary: "workflow file (default: ./WORKFLOW.md)",
      optional: true,
      completion: "files",
    },
  ],
  options: [
    {
      name: "manager",
      value: "name",
      summary: "systemd or launchd (default: that of this system)",
      choices: ["systemd", "launchd"],
    },
  ],
  async call(given, context) {
    const { manage } = await import("./service-manager.ts");
    return manage(given, context);
  },
  print({ lines }, context) {
    for (const line of lines) context.print(line);
  },
  exitCode: ({ ok }) => (ok ? exitCodes.done : exitCodes.failed),
});
