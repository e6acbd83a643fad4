import type { AgentSession } from "../agent/agent.ts";
import type { AgentImage } from "../agent/images.ts";
import { oneLine } from "../text/text.ts";
import { addressesIn, type IssueImages, imagesOf, nameOf } from "../tracker/images.ts";
import type { Uploads } from "../tracker/tracker.ts";
import type { ShownToThread } from "./shown-images.ts";

/** The images of one message. */
export interface Pictured {
  readonly images: readonly AgentImage[];
  /** For the end of the message: which images it has, and which it has not. `""`: its texts show none. */
  readonly note: string;
  /** Call when the agent has the message. */
  given(): void;
}

interface PicturesDeps {
  readonly session: Pick<AgentSession, "takesImages" | "forgetsImages" | "resumed">;
  /** Absent: the tracker has no uploads. */
  readonly uploads?: Uploads | undefined;
  readonly issueId: string;
  /** The images that the thread has. */
  readonly shown: ShownToThread;
  readonly signal: AbortSignal;
  /** For people. */
  tell(line: string): void;
}

/** Texts that a message is made from. */
interface Texts {
  /** Images that the thread has are not given again. */
  readonly issue?: readonly string[];
  /** What the thread has not read yet, such as a comment: its images come with it. */
  readonly news?: readonly string[];
}

const namesShown = 20;
const nothing: Pictured = { images: [], note: "", given() {} };

/** Gives a session the images of its issue and of what people write about it, with the message that shows them. */
export class Pictures {
  readonly #deps: PicturesDeps;
  /** Also those of a message that the agent has not confirmed. */
  readonly #read = new Set<string>();
  /** Those that earlier messages of the thread speak of, and that it has no longer: said once. */
  #lost: readonly string[] = [];

  constructor(deps: PicturesDeps) {
    this.#deps = deps;
    const { session, shown } = deps;
    if (session.resumed && session.forgetsImages) this.#lost = [...shown.addresses];
    if (!session.resumed || session.forgetsImages) shown.clear();
  }

  /** Rejects only with the reason of the signal. */
  async of(texts: Texts): Promise<Pictured> {
    const pictured = await this.#found(texts);
    const lost = this.#lost.filter((href) => !this.#read.has(href)).slice(0, namesShown);
    this.#lost = [];
    if (lost.length === 0) return pictured;
    const names = lost.map((href) => `- ${oneLine(nameOf(new URL(href)), 300)}`).join("\n");
    const gone = `Images of earlier messages that this conversation no longer has:\n${names}`;
    return { ...pictured, note: pictured.note === "" ? gone : `${pictured.note}\n\n${gone}` };
  }

  async #found({ issue = [], news = [] }: Texts): Promise<Pictured> {
    const { uploads, session, shown, issueId, signal, tell } = this.#deps;
    if (!uploads) return nothing;
    const isNew = ({ href }: URL) => !shown.addresses.has(href);
    const urls = [...addressesIn(issue).filter(isNew), ...addressesIn(news)];
    if (urls.length === 0) return nothing;
    if (!session.takesImages) {
      const takesNone = "the images of the issue are not given to this agent: it takes none";
      if (urls.some((url) => uploads.holds(url))) tell(takesNone);
      const left = urls.map((url) => ({ url, why: "you take no images here" }));
      return { ...nothing, note: noteOf({ images: [], urls: [], left }) };
    }
    const given = new Set([...shown.addresses, ...this.#read]);
    const found = await imagesOf(urls, uploads, { issueId, given, signal });
    for (const { href } of found.urls) this.#read.add(href);
    for (const { url, why } of found.left) {
      if (!uploads.holds(url)) continue;
      tell(`an image of the issue is left out (${url.pathname.slice(-100)}): ${why}`);
    }
    const { images } = found;
    if (images.length > 0) tell(`images of the issue for the agent: ${images.length}`);
    return {
      ...{ images, note: noteOf(found) },
      given: () => shown.add(found.urls.map(({ href }) => href)),
    };
  }
}

function noteOf({ urls, left }: IssueImages): string {
  const has = urls.map((url, at) => `${at + 1}. ${oneLine(nameOf(url), 300)}`);
  const lacks = left
    .slice(0, namesShown)
    .map(({ url, why }) => `- ${oneLine(`${nameOf(url)}: ${why}`, 500)}`);
  const more = left.length > namesShown ? [`- and ${left.length - namesShown} more`] : [];
  const parts = [
    has.length === 0 ? "" : `Images in this message, in this order:\n${has.join("\n")}`,
    left.length === 0 ? "" : `Images that it does not have:\n${[...lacks, ...more].join("\n")}`,
  ];
  return parts.filter((part) => part !== "").join("\n\n");
}
