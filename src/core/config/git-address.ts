/** Where a repository is, with its credential apart. */
export interface GitAddress {
  /** The one transport that git may use for it. */
  readonly protocol: "https" | "http" | "ssh" | "file";
  /** What git is given and the clone remembers: no credential is in it. */
  readonly address: string;
  readonly login: GitLogin | null;
}

export interface GitLogin {
  readonly user: string;
  /** Name of the secret or variable that holds the password. */
  readonly secret: string;
  /** Scheme and host that it is for; nobody else is told. */
  readonly site: string;
}

/** Why an address cannot be used; it never quotes the address, which may hold a credential. */
interface Refused {
  readonly problem: string;
}

const longest = 2_000;
const reference = /^\$([A-Za-z_][A-Za-z0-9_]*)$/;
const loginName = /^[A-Za-z0-9_][A-Za-z0-9._-]*$/;
const likeScp =
  /^(?:([A-Za-z0-9_][A-Za-z0-9._-]*)@)?[A-Za-z0-9][A-Za-z0-9.-]*:[A-Za-z0-9_~./][^:]*$/;
const thisMachine: ReadonlySet<string> = new Set(["localhost", "127.0.0.1", "[::1]"]);
/** Who a token logs in as where the address names nobody. */
const tokenUser = "x-access-token";

const forms: Refused = {
  problem: "must be https://host/path, ssh://host/path, user@host:path or an absolute path",
};

/** Reads `https://…`, `ssh://…`, `user@host:path`, an absolute path or `file:///…`, and `http://` on this machine. */
export function parseGitAddress(written: string): GitAddress | Refused {
  if (written.length > longest || /[\s\p{Cc}\\]/u.test(written)) {
    return { problem: "must not hold blanks, control characters or backslashes" };
  }
  if (written.startsWith("/")) return { protocol: "file", address: written, login: null };
  const url = written.includes("://") ? URL.parse(written) : null;
  if (url === null) {
    return likeScp.test(written) ? { protocol: "ssh", address: written, login: null } : forms;
  }
  if (url.search !== "" || url.hash !== "") return { problem: "must not hold ? or #" };
  switch (url.protocol) {
    case "https:":
      return overHttp(url, "https");
    case "http:":
      return thisMachine.has(url.hostname)
        ? overHttp(url, "http")
        : { problem: "must be https: http is for this machine only" };
    case "ssh:":
      return overSsh(url);
    case "file:":
      return url.host === "" ? { protocol: "file", address: url.href, login: null } : forms;
    default:
      return forms;
  }
}

/** Whether the address can be used. */
export function isGitAddress(found: GitAddress | Refused): found is GitAddress {
  return "protocol" in found;
}

function overHttp(url: URL, protocol: "https" | "http"): GitAddress | Refused {
  const site = `${url.protocol}//${url.host}`;
  const address = `${site}${url.pathname}`;
  const user = decoded(url.username);
  const password = decoded(url.password);
  if (user === "" && password === "") return { protocol, address, login: null };
  const secret = reference.exec(password === "" ? user : password)?.[1];
  const name = password === "" ? tokenUser : user;
  if (secret === undefined || !loginName.test(name)) {
    return {
      problem: "must name its credential, as in https://$TOKEN@host/path or https://user:$TOKEN@…",
    };
  }
  return { protocol, address, login: { user: name, secret, site } };
}

function overSsh(url: URL): GitAddress | Refused {
  if (url.password !== "") return { problem: "must not hold a password: ssh uses keys" };
  const isSound = /^[A-Za-z0-9[]/.test(url.host) && url.pathname.length > 1;
  if (!isSound || (url.username !== "" && !loginName.test(url.username))) return forms;
  const user = url.username === "" ? "" : `${url.username}@`;
  const address = `ssh://${user}${url.host}${url.pathname}`;
  return { protocol: "ssh", address, login: null };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
