import type { LaneName } from "./lanes.ts";

/** What the board shows of the state. Empty: everything. */
export interface Filter {
  readonly search: string;
  readonly lane: LaneName | "";
  readonly label: string;
  readonly agent: string;
}

export type Route =
  | { readonly view: "board"; readonly filter: Filter }
  | { readonly view: "issue"; readonly issue: string }
  | { readonly view: "overview" };

const names: readonly LaneName[] = ["needs", "running", "review", "queued", "held", "done"];

/** What the address asks for: `#/issue/ENG-1`, `#/overview`, or `#/?q=words&lane=held&label=web&agent=codex`. */
export function routeOf(hash: string): Route {
  const [, issue] = /^#\/issue\/([^?]+)/.exec(hash) ?? [];
  if (issue !== undefined) return { view: "issue", issue: safelyDecoded(issue) };
  if (/^#\/overview(?:\?|$)/.test(hash)) return { view: "overview" };
  const query = new URLSearchParams(/\?(.*)/s.exec(hash)?.[1] ?? "");
  const of = (name: string) => query.get(name) ?? "";
  const lane = names.find((name) => name === of("lane")) ?? "";
  return {
    view: "board",
    filter: { search: of("q"), lane, label: of("label"), agent: of("agent") },
  };
}

export function boardAddress({ search, lane, label, agent }: Filter): string {
  const written = Object.entries({ q: search, lane, label, agent }).filter(
    ([, text]) => text !== "",
  );
  const query = written.map(([name, text]) => `${name}=${encodeURIComponent(text)}`).join("&");
  return query === "" ? "#/" : `#/?${query}`;
}

export function issueAddress(identifier: string): string {
  return `#/issue/${encodeURIComponent(identifier)}`;
}

function safelyDecoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
