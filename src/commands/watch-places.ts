import { webAddress } from "../web/words.ts";
import type { CommandContext } from "./context.ts";
import type { Choice } from "./watch-model.ts";

/** Where the issue may go. */
export async function movesOf(issue: string, context: CommandContext): Promise<readonly Choice[]> {
  const client = await context.client();
  const { issues } = await client.system.transitions({ query: { issue } });
  const [found] = Object.values(issues);
  return (found?.transitions ?? []).map(({ to, kind }) => ({
    label: kind === "status" ? `${to} (here)` : to,
    order: { type: "act", issue, deed: { type: "transition", to } },
  }));
}

/** What of the issue can be opened: its page, its pull request, the tracker, its directory. */
export async function placesOf(issue: string, context: CommandContext): Promise<readonly Choice[]> {
  const client = await context.client();
  const { baseUrl } = await context.server();
  const {
    delivery,
    issue: tracked,
    workspace,
  } = await client.issues.detail({
    params: { id: issue },
  });
  const page = `${baseUrl.replace(/\/+$/, "")}/#/issue/${encodeURIComponent(issue)}`;
  const places = [
    ["page", page],
    ["pull request", webAddress(delivery?.pull_request?.url)],
    ["tracker", webAddress(tracked.url)],
    ["workspace", workspace.path],
  ] as const;
  return places.flatMap(([name, place]) =>
    place === null
      ? []
      : [{ label: `${name}  ${place}`, order: { type: "show", issue, place } as const }],
  );
}
