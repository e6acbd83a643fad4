import { type AgentImage, imageTypeOf } from "../agent/images.ts";
import { tooLargeIn, wholeBytes } from "../answers.ts";
import { messageOf } from "../model/errors.ts";
import { outbound } from "../outbound.ts";
import type { Uploads } from "./tracker.ts";

/** Of one issue, for one conversation. */
const maxImages = 10;
/** All images of one message together. */
const maxTotalBytes = 20 * 1024 * 1024;
const timeoutMs = 20_000;
const maxHops = 2;
/** An image of Markdown, whose address ends at the first space, or of HTML, which GitHub's editor writes. */
const image =
  /!\[[^\]\n]{0,500}\]\(\s{0,5}<?(https?:\/\/[^\s)>]{1,2000})|<img\s[^>]{0,500}?\bsrc\s{0,3}=\s{0,3}["']?(https?:\/\/[^\s"'>]{1,2000})/gi;

export interface IssueImages {
  readonly images: readonly AgentImage[];
  /** Those of `images`, in the same order. */
  readonly urls: readonly URL[];
  /** The others, and why they are not there. */
  readonly left: readonly { readonly url: URL; readonly why: string }[];
}

/** The images that texts show, each once; without an address that carries a user or does not parse. */
export function addressesIn(texts: readonly string[]): readonly URL[] {
  const written = texts.flatMap((text) => [...text.matchAll(image)]);
  const found = written.flatMap(
    ([, markdown, html]) => URL.parse((markdown ?? html ?? "").replaceAll("&amp;", "&")) ?? [],
  );
  const plain = found.filter(({ username, password }) => username === "" && password === "");
  return [...new Map(plain.map((url) => [url.href, url])).values()];
}

/** Without its query, which may be a credential. */
export function nameOf({ origin, pathname }: URL): string {
  return `${origin}${pathname}`;
}

/**
 * The images of these addresses that were uploaded to the issue's tracker. They are of anyone who may write there: no
 * other host is asked, a redirect leads only where the tracker's uploads lie and takes no credential with it, and what a
 * file is its first bytes say. `given` are the addresses that the conversation has. Rejects only with the reason of `signal`.
 */
export async function imagesOf(
  urls: readonly URL[],
  uploads: Uploads,
  {
    issueId,
    given,
    signal,
  }: {
    readonly issueId: string;
    readonly given: ReadonlySet<string>;
    readonly signal: AbortSignal;
  },
): Promise<IssueImages> {
  const found = {
    images: [] as AgentImage[],
    urls: [] as URL[],
    left: [] as { url: URL; why: string }[],
  };
  let total = 0;
  let room = maxImages - given.size;
  for (const url of new Map(urls.map((one) => [one.href, one])).values()) {
    try {
      if (!uploads.holds(url)) throw new Error("it was not uploaded to the tracker");
      if (!given.has(url.href) && room-- <= 0) {
        throw new Error(`at most ${maxImages} images of an issue are given`);
      }
      const bytes = await fetched(url, uploads, { issueId, signal });
      const mediaType = imageTypeOf(bytes);
      if (mediaType === null) throw new Error("it is no PNG, JPEG or WebP");
      if (total + bytes.length > maxTotalBytes) {
        throw new Error("all images together are larger than 20 MiB");
      }
      total += bytes.length;
      found.images.push({ mediaType, base64: bytes.toString("base64") });
      found.urls.push(url);
    } catch (error) {
      signal.throwIfAborted();
      found.left.push({ url, why: tooLargeIn(error)?.message ?? messageOf(error) });
    }
  }
  return found;
}

async function fetched(
  start: URL,
  uploads: Uploads,
  { issueId, signal }: { readonly issueId: string; readonly signal: AbortSignal },
): Promise<Buffer> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
  const credential = await uploads.authorization(start, issueId);
  let headers = credential === null ? {} : { authorization: credential };
  for (let url = start, hop = 0; ; hop++) {
    const response = await outbound(url, { headers, redirect: "manual", signal: limit }, "image");
    if (response.ok) return wholeBytes(response.body, { host: url.host, kind: "image" });
    await response.body?.cancel();
    const location = response.headers.get("location");
    if (response.status < 300 || response.status >= 400 || location === null) {
      throw new Error(`status ${response.status}`);
    }
    url = new URL(location, url);
    if (hop >= maxHops || uploads.leadsTo?.(url) !== true) {
      throw new Error(`it leads to ${url.host}, which is no place of the tracker's uploads`);
    }
    headers = {};
  }
}
