import { field } from "../normalize.ts";
import type { ScopeLine } from "../tracker.ts";
import type { Named, ScopeView } from "./scope.ts";

/** Whether an issue fits the filters that only Linear can evaluate; null: not known. */
export interface Members {
  readonly filtered: boolean | null;
  readonly viewed: boolean | null;
}

/** A line of the scope, and in words what happened to an issue that was inside and no longer is. */
export interface Belonging extends ScopeLine {
  readonly left: string;
}

/** What a node of Linear's `issues` has of the scope: a line for each setting, and one for the archive. */
export function belongingOf(node: unknown, view: ScopeView, members: Members): Belonging[] {
  const lines = [
    archive(node),
    team(node, view),
    project(node, view),
    delegate(node, view),
    byFilter("filter", "tracker.provider.filter", {
      isSet: view.filter !== null,
      fits: members.filtered,
    }),
    byFilter("view", `the view ${view.view?.name ?? ""} (tracker.provider.view)`, {
      isSet: view.view !== null,
      fits: members.viewed,
    }),
  ];
  return lines.filter((line) => line !== null);
}

/** The reason for which the tracker keeps an issue of the scope from being worked on; null: none. */
export function withheldFor(node: unknown, { assignee }: Pick<ScopeView, "assignee">) {
  if (assignee === null) return null;
  const owner = person(node, "assignee");
  const owners = [owner, person(node, "delegate")];
  if (owners.some((one) => one?.id === assignee.id)) return null;
  return `assigned to ${owner?.name ?? "nobody"}, not to ${assignee.name} (tracker.provider.assignee)`;
}

function archive(node: unknown): Belonging {
  const isTrashed = field(node, "trashed") === true;
  const isThere = field(node, "archivedAt") == null && !isTrashed;
  const word = isTrashed ? "deleted" : "archived";
  return line("not_archived", isThere, {
    found: `it is ${isThere ? "not archived" : word}`,
    opens: "restore it in Linear",
    left: word,
  });
}

function team(node: unknown, view: ScopeView): Belonging | null {
  if (view.team === null) return null;
  const found = field(node, "team");
  const key = text(field(found, "key")) ?? "none";
  return line("team", field(found, "id") === view.team.id, {
    found: `its team is ${key}; tracker.provider.team is ${view.team.key}`,
    opens: `move it to the team ${view.team.key}`,
    left: `moved to the team ${key}`,
  });
}

function project(node: unknown, view: ScopeView): Belonging | null {
  if (view.projects === null) return null;
  const found = field(node, "project");
  const name = text(field(found, "name")) ?? text(field(found, "slugId"));
  const fits = view.projects.some(({ slugId }) => slugId === field(found, "slugId"));
  const wanted = view.projects.map((one) => one.name).join(" or ");
  return line("project", fits, {
    found: fits
      ? `its project is ${name}`
      : `${name === null ? "it is in no project" : `its project is ${name}`}, not ${wanted} (${view.projectsBy})`,
    opens: `move it to the project ${wanted}`,
    left: name === null ? "taken out of its project" : `moved to the project ${name}`,
  });
}

function delegate(node: unknown, view: ScopeView): Belonging | null {
  if (view.delegate === null) return null;
  const found = person(node, "delegate");
  const fits = found?.id === view.delegate.id;
  return line("delegate", fits, {
    found: fits
      ? `it is delegated to ${found.name}`
      : `it is delegated to ${found?.name ?? "nobody"}, not to ${view.delegate.name} (tracker.provider.delegate)`,
    opens: `delegate it to ${view.delegate.name}`,
    left: found === null ? "no longer delegated" : `delegated to ${found.name}`,
  });
}

function byFilter(
  gate: string,
  name: string,
  { isSet, fits }: { readonly isSet: boolean; readonly fits: boolean | null },
): Belonging | null {
  if (!isSet || fits === null) return null;
  return line(gate, fits, {
    found: fits ? `it is in ${name}` : `it is not in ${name}`,
    opens: `a change that brings it into ${name}`,
    left: `no longer in ${name}`,
  });
}

interface Words {
  readonly found: string;
  readonly opens: string;
  readonly left: string;
}

function line(gate: string, pass: boolean, { found, opens, left }: Words): Belonging {
  return { gate, pass, detail: found, opens: pass ? null : opens, left };
}

function person(node: unknown, name: string): Named | null {
  const found = field(node, name);
  const id = text(field(found, "id"));
  return id === null ? null : { id, name: text(field(found, "displayName")) ?? id };
}

function text(value: unknown): string | null {
  return typeof value === "string" && value !== "" ? value : null;
}
