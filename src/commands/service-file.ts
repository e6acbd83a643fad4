import { createHash } from "node:crypto";
import { basename, dirname, join } from "node:path";
import { SymphonyError } from "../core/model/errors.ts";

export type Manager = "systemd" | "launchd";

/** What a service starts, with all that it does not inherit from a shell. */
export interface ServiceFacts {
  /** Absolute. */
  readonly workflowPath: string;
  readonly dataDir: string;
  /** The Node.js in use, and the program that it runs. */
  readonly node: string;
  readonly program: string;
  readonly home: string;
  /** The PATH of the shell that installs it: agents are found as that shell finds them. */
  readonly path: string;
  /** What else of that shell it takes along, by name. */
  readonly variables: Readonly<Record<string, string>>;
}

/** Ways out, certificates and places of logins: without them the service finds less than the shell. */
const carried =
  /^(?:(?:HTTPS?|NO)_PROXY|NODE_EXTRA_CA_CERTS|CODEX_HOME|CLAUDE_CONFIG_DIR|XDG_(?:CONFIG|DATA)_HOME)$/i;
const secrets = /^SYMPHONY_(?:MASTER_KEY|TOKEN)$/;

/** The variables that a service takes along, and the names of those that it would need but that hold a secret. */
export function carriedOf(env: Readonly<Record<string, string | undefined>>) {
  const variables: Record<string, string> = {};
  const left: string[] = [];
  for (const [name, value = ""] of Object.entries(env)) {
    if (value === "") continue;
    if (secrets.test(name) || (carried.test(name) && /_PROXY$/i.test(name) && value.includes("@")))
      left.push(name);
    else if (carried.test(name)) variables[name] = value;
  }
  return { variables, left };
}

/** The first line of each file: what `uninstall` may remove. */
export const madeBy = "Made by symphony service";
/** Longer than the drain of agents and hooks. */
const stopSeconds = 60;
const openFiles = 65_536;

/** A name of its own for each data directory, such as `symphony-shop-3f9a1c`. */
export function serviceName({ dataDir }: Pick<ServiceFacts, "dataDir">): string {
  const project = basename(dirname(dataDir))
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, "-");
  const mark = createHash("sha256").update(dataDir).digest("hex").slice(0, 6);
  return `symphony-${project.replaceAll(/^-|-$/g, "").slice(0, 40) || "project"}-${mark}`;
}

/** Where the manager looks for the files of a user. `config`: `XDG_CONFIG_HOME` or its default. */
export function servicePath(
  manager: Manager,
  name: string,
  { home, config }: { readonly home: string; readonly config: string },
): string {
  return manager === "systemd"
    ? join(config, "systemd", "user", `${name}.service`)
    : join(home, "Library", "LaunchAgents", `${name}.plist`);
}

/** Throws `invalid_request` for a value that the format cannot hold. */
export function serviceText(manager: Manager, facts: ServiceFacts): string {
  const values = { ...facts, path: pathOf(facts) };
  const { variables, ...rest } = values;
  for (const [name, value] of Object.entries({ ...rest, ...variables })) {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they end a line or are not allowed in XML
    if (!/[\u0000-\u001f\u007f]/.test(value)) continue;
    throw new SymphonyError(
      "invalid_request",
      `${name} has a control character, which no service file can hold`,
      {
        hint: "rename it, or set PATH without it",
      },
    );
  }
  return manager === "systemd" ? unit(values) : plist(values);
}

/** The folder of the Node.js in use comes first, so that it is found by the agents' own scripts, too. */
function pathOf({ node, path }: ServiceFacts): string {
  const folders = [dirname(node), ...path.split(":")];
  return [...new Set(folders.filter((folder) => folder !== ""))].join(":");
}

function argumentsOf({ node, program, workflowPath, dataDir }: ServiceFacts): readonly string[] {
  return [node, program, "serve", workflowPath, "--data-dir", dataDir, "--log-format", "logfmt"];
}

function unit(facts: ServiceFacts): string {
  const environment = { PATH: facts.path, HOME: facts.home, ...facts.variables };
  const variables = Object.entries(environment).map(
    ([name, value]) => `Environment=${quoted(`${name}=${value}`)}`,
  );
  return `# ${madeBy}. Remove it with: symphony service uninstall
[Unit]
Description=${escaped(`symphony for ${facts.workflowPath}`)}
After=network-online.target
# A lock or a port that stays taken ends the restarts.
StartLimitIntervalSec=120
StartLimitBurst=5

[Service]
ExecStart=${argumentsOf(facts)
    .map((one) => quoted(one).replaceAll("$", "$$$$"))
    .join(" ")}
${variables.join("\n")}
Restart=on-failure
RestartSec=5
KillMode=mixed
# symphony makes a group of the kernel for each agent.
Delegate=pids memory
TimeoutStopSec=${stopSeconds}
LimitNOFILE=${openFiles}
# The memory holds the secrets.
LimitCORE=0

[Install]
WantedBy=default.target
`;
}

/** systemd.unit(5): `%` begins a specifier. */
function escaped(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("%", "%%");
}

function quoted(text: string): string {
  return `"${escaped(text).replaceAll('"', '\\"')}"`;
}

function plist(facts: ServiceFacts): string {
  const text = (value: string) => `<string>${xml(value)}</string>`;
  const log = join(facts.dataDir, "log", "service.log");
  return `<?xml version="1.0" encoding="UTF-8"?>
<!-- ${madeBy}. Remove it with: symphony service uninstall -->
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
  <key>Label</key>${text(serviceName(facts))}
  <key>ProgramArguments</key>
  <array>
    ${argumentsOf(facts).map(text).join("\n    ")}
  </array>
  <key>EnvironmentVariables</key>
  <dict>
    <key>PATH</key>${text(facts.path)}
    <key>HOME</key>${text(facts.home)}${Object.entries(facts.variables)
      .map(([name, value]) => `\n    <key>${xml(name)}</key>${text(value)}`)
      .join("")}
  </dict>
  <key>RunAtLoad</key><true/>
  <key>KeepAlive</key><dict><key>SuccessfulExit</key><false/></dict>
  <key>ThrottleInterval</key><integer>30</integer>
  <key>ExitTimeOut</key><integer>${stopSeconds}</integer>
  <key>SoftResourceLimits</key><dict><key>NumberOfFiles</key><integer>${openFiles}</integer></dict>
  <key>StandardErrorPath</key>${text(log)}
</dict>
</plist>
`;
}

function xml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
