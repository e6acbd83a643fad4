import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually, ServedProject } from "./symphony.ts";

interface SshOptions {
  /** The shell line of the agent. */
  readonly agent: string;
  readonly hosts: readonly string[];
  /** Sections of the workflow file in place of the usual ones. */
  readonly sections?: string;
  /** The real ssh is used. */
  readonly isReal?: boolean;
  /** Further variables of the server. */
  readonly env?: Readonly<Record<string, string>>;
  /** Further lines of the hosts' profiles. */
  readonly profile?: string;
  readonly max?: number | null;
  /** Its hosts are those of this world. */
  readonly beside?: SshWorld;
}

/**
 * A project whose attempts run on hosts. Its `ssh` is a script that records its arguments and runs the command on this
 * machine, in the home of the host and apart from the processes of the server; a file `exit` in that home makes it fail, a file `shell` names the
 * login shell.
 */
export class SshWorld extends ServedProject implements AsyncDisposable {
  readonly #hosts: string;

  private constructor(dir: string, beside: SshWorld | undefined) {
    super(dir, { SHELL: "/bin/bash" });
    this.#hosts = join(beside?.dir ?? dir, "hosts");
  }

  static async open(options: SshOptions): Promise<SshWorld> {
    const world = new SshWorld(await mkdtemp(join(tmpdir(), "symphony-ssh-")), options.beside);
    const { dir } = world;
    await mkdir(join(dir, "shared"));
    await mkdir(join(dir, "bin"));
    await writeFile(join(dir, ".profile"), `export PATH='${dir}/bin':$PATH\n`);
    if (options.isReal !== true)
      await writeFile(join(dir, "bin", "ssh"), fakeSsh(dir, world.#hosts), { mode: 0o755 });
    Object.assign(world.place.env, options.env);
    for (const host of options.hosts) {
      const home = world.home(host);
      await mkdir(join(home, "bin"), { recursive: true });
      await writeFile(join(home, ".profile"), `${noise}\n${options.profile ?? ""}\n`);
      const agent = `#!/bin/bash\nshared='${dir}/shared'\n${options.agent}\n`;
      await writeFile(join(home, "bin", "the-agent"), agent, { mode: 0o755 });
    }
    await world.configure(options);
    return world;
  }

  async configure({ hosts, sections, max = null }: SshOptions): Promise<void> {
    const text = `---
tracker: { kind: local }
polling: { interval_ms: 1000 }
workspace: { root: ~/spaces }
${sections ?? usual}
worker: { ssh_hosts: [${hosts.map((host) => `"${host}"`).join(", ")}]${max === null ? "" : `, max_concurrent_agents_per_host: ${max}`} }
host: { min_memory: 0, max_load: 0 }
---
Work on {{ issue.title }}
`;
    await writeFile(this.place.workflowPath, text);
  }

  /** The home directory of a host. */
  home(host: string): string {
    return join(
      this.#hosts,
      host
        .trim()
        .replace(/:\d+$/, "")
        .replaceAll(/[^\w.-]/g, "_"),
    );
  }

  async isReady(host: string): Promise<void> {
    await eventually(`${host} is ready`, async () => {
      const { workers } = await this.client.workers.list();
      return workers.find(({ name }) => name === host)?.ready === true;
    });
  }

  /** The issue's newest attempt, when `count` of them have ended. */
  async ended(id: string, count = 1) {
    return eventually(`${count} attempts of ${id} have ended`, async () => {
      const { attempts } = await this.client.issues.attempts({ params: { id } });
      const over = attempts.filter(({ ended_at }) => ended_at !== null);
      return over.length >= count ? (over.at(0) ?? null) : null;
    });
  }

  /** The arguments of every call of ssh so far. */
  get calls(): readonly (readonly string[])[] {
    return this.shared("argv").map((line) => JSON.parse(line) as string[]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server?.[Symbol.asyncDispose]();
    await rm(this.dir, { recursive: true, force: true, maxRetries: 5 });
  }
}

const usual = `agent: { kind: command, level: danger, max_turns: 1, max_retry_backoff_ms: 1000 }
command: { line: the-agent, output: text }
hooks:
  after_create: |
    git init -q -b main && git config user.email a@example.com && git config user.name A
    echo one > one && git add -A && git commit -q -m one`;

const noise = `echo "Welcome to this host"\nexport PATH=$HOME/bin:$PATH`;

function fakeSsh(dir: string, hosts: string): string {
  return `#!/bin/bash
'${process.execPath}' -e 'fs.appendFileSync(process.argv[1], JSON.stringify(process.argv.slice(2)) + "\\n")' '${dir}/shared/argv' "$@"
host="\${*: -2:1}"; command="\${*: -1}"
home='${hosts}/'"\${host//[^A-Za-z0-9_.-]/_}"
if [ -e "$home/exit" ]; then tail -n +2 "$home/exit" >&2; exit "$(head -n 1 "$home/exit")"; fi
[ -d "$home" ] || { echo "ssh: Could not resolve hostname $host" >&2; exit 255; }
cd "$home" && exec setsid -w env -i HOME="$home" USER=there SHELL=/bin/bash PATH=/usr/local/bin:/usr/bin:/bin HOST_NAME="$host" "$(cat shell 2>/dev/null || echo bash)" -c "$command"
`;
}
