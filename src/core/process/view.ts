import type { AgentConfig } from "../config/agents.ts";
import type { Bounds } from "./bounds.ts";

// What a confined program sees of the machine: the model of both sandboxes, bubblewrap's and Seatbelt's.

export type Level = AgentConfig["level"];

/**
 * What a program in the sandbox sees of the machine, in addition to the system's directories. All
 * paths are canonical.
 */
export interface View {
  readonly level: Exclude<Level, "danger">;
  /** Writable and persistent. */
  readonly workspace: string;
  /** Inside the workspace. */
  readonly cwd: string;
  /** Empty, private and writable inside the sandbox, each with a limited size. */
  readonly homes: readonly string[];
  /** Covered everywhere inside a shown directory, unless `shown` names the same path. */
  readonly hidden: readonly string[];
  readonly shown: readonly Shown[];
  /** Names in the workspace that are empty inside. */
  readonly emptied: readonly string[];
  /**
   * Shell lines that start the one way out, after which the command runs: the sandbox then has a
   * network of its own at every level. Absent: none at `safe`, that of the machine at `networked`.
   */
  readonly relay?: string;
  /** The one way out of Seatbelt, which has no network of its own: a port of 127.0.0.1, and no other at any level. */
  readonly port?: number;
  /**
   * The command makes a sandbox of its own: inside, its user is not root, whose user namespaces the kernel refuses
   * without a capability (CAP_SETFCAP).
   */
  readonly nests?: boolean;
  /** Read-only in the workspace, where they exist, with what `guardedIn` adds; `guardedNames` if omitted. */
  readonly guarded?: readonly string[];
  /** What the command may use; absent: what its user may. */
  readonly bounds?: Bounds | undefined;
}

/**
 * A file or directory of the machine, and its path inside the sandbox. A path that does not exist
 * is skipped.
 */
export interface Shown {
  readonly from: string;
  readonly to: string;
  /** `link`: a symbolic link to `from`, which has to be shown separately. */
  readonly as: "readable" | "writable" | "link";
}

const inEtc = (name: string) => `/private/etc/${name}`;
const isMac = process.platform === "darwin";

/** The directories of the system, which every program sees, read-only. */
export const systemDirs: readonly string[] = isMac
  ? [
      ...["/usr", "/bin", "/sbin", "/System", "/opt", "/nix", "/Applications", "/private/etc"],
      ...["/Library/Apple", "/Library/Developer", "/Library/Frameworks", "/Library/Java"],
      ...["/private/var/db/timezone", "/private/var/db/dyld", "/private/var/select"],
    ]
  : ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/opt", "/nix"];
/** Only root can read these, so they matter when the server runs as root. */
export const systemSecrets: readonly string[] = isMac
  ? [
      ...["master.passwd", "sudoers", "sudoers.d", "ssh", "krb5.keytab"].map(inEtc),
      // Homebrew keeps the data and the settings of its services here.
      ...["/opt/homebrew/var", "/usr/local/var", "/opt/homebrew/etc", "/usr/local/etc"],
    ]
  : [
      "/etc/shadow",
      "/etc/shadow-",
      "/etc/gshadow",
      "/etc/gshadow-",
      "/etc/sudoers",
      "/etc/sudoers.d",
      "/etc/ssh",
      "/etc/ssl/private",
      "/etc/krb5.keytab",
      "/etc/letsencrypt",
      "/etc/wireguard",
      "/etc/kubernetes",
      "/etc/rancher",
      "/etc/NetworkManager/system-connections",
    ];
/** Services in /run that would act outside of the sandbox for any program that connects. */
export const serviceSockets: readonly string[] = isMac
  ? ["/private/var/run", "/private/tmp/com.apple.launchd"]
  : ["/run/user", "/run/docker.sock", "/run/containerd", "/run/podman", "/run/dbus"];
/**
 * Programs outside of the sandbox obey the content of these: read-only at the top of a workspace.
 */
export const guardedNames: readonly string[] = [".git", ".codex", ".agents"];

/**
 * Whether a path is `dir` or in it. On macOS, whose volumes take names that differ in case or in the form of
 * their accents for the same, these count as the same here.
 */
export function isInside(path: string, dir: string): boolean {
  const [one, other] = [asNamed(path), asNamed(dir)];
  return one === other || one.startsWith(other.endsWith("/") ? other : `${other}/`);
}

/** A form of a path or a name that is the same for all that this system takes for the same. */
export function asNamed(path: string): string {
  return isMac ? path.normalize("NFC").toLowerCase() : path;
}

/** Whether every sandbox shows the path, if it exists on the system. */
export function isSystem(path: string): boolean {
  return systemDirs.some((dir) => isInside(path, dir));
}
