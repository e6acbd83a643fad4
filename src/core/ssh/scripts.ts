// What runs on a host: bash, git and /proc, and nothing of symphony. Each script gets its values as `$1`, `$2`, … and answers
// with `say`.

import type { Book } from "./book.ts";

/** `$root`: the directory `$1` as the host reads it. */
const findRoot = `
case $1 in "~") root=$HOME;; "~/"*) root=$HOME/\${1#"~/"};; /*) root=$1;; *) root=$HOME/$1;; esac
mkdir -p -m 700 -- "$root" && root=$(cd -- "$root" && pwd -P) && mkdir -p -m 700 -- "$root/.symphony-ssh" || exit 1`;

/** Ends every process whose cookie begins with `$run`; `$left`: how many are left. */
export const endRun = `
of_run() { grep -lzsF "SYMPHONY_RUN_ID=$run" /proc/[0-9]*/environ | cut -d/ -f3; }
end_run() {
  for sig in TERM KILL KILL; do
    pids=$(of_run); [ -z "$pids" ] && break
    kill -s "$sig" $pids 2>/dev/null
    for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do [ -z "$(of_run)" ] && break 2; sleep 0.1; done
  done
  left=$(of_run | grep -c .)
}`;

/**
 * `$1` root, `$2` a text to be returned, `$3`… programs that have to be there. Says last what
 * no other root of a running machine has, and which servers have processes there: the id of each and, where a mark has it, its name.
 */
export const handshake = `${findRoot}
own=$(SYMPHONY_RUN_ID=symphony-probe bash -c "grep -lzs ^SYMPHONY_RUN_ID=symphony-probe /proc/self/environ; :")
git=$(git --version 2>/dev/null) || git=-
text=$2 missing=- others=; shift 2
for one; do command -v -- "$one" >/dev/null || missing=$one; done
for one in $(cat /proc/[0-9]*/environ 2>/dev/null | tr "\\0" "\\n" | sed -n "s/^SYMPHONY_RUN_ID=ssh-\\([0-9a-f]*\\)-.*/\\1/p" | sort -u); do
  name=$(cat -- "$root"/.symphony-ssh/*.owner 2>/dev/null | grep -m 1 "^$one ") || name=$one
  others=$others\${others:+, }$name
done
machine=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null) && machine=$machine:$(readlink /proc/self/ns/pid):$(stat -c %d:%i -- "$root")
say "$text" "$root" "$(uname -n)" "$git" "\${own:--}" "$missing" "$PATH" "$machine" "$others"`;

/** `$1`: the cookie or its beginning. */
export const endRuns = `run=$1${endRun}
end_run; say "$left"`;

/**
 * `$1` the id of this server, `$2` its run and name, `$3`… roots: one after `=` had this mark before. Says `later` and the name
 * of the server that was started later with the same data directory.
 */
export const claim = `
id=$1 mark=$2; shift 2
for root; do
  file=\${root#=}/.symphony-ssh/$id.run by=
  [ "$root" = "\${root#=}" ] || by=$(cat -- "$file" 2>/dev/null)
  case $by in "" | "\${mark%% *} "*) ;; *) say later "$by"; exit;; esac
  [ -n "$by" ] || ! [ -d "\${file%/*}" ] || echo "$mark" >"$file" || exit 1
done
say ok`;

/** `$at`: a root. Calls `later` with the name of a server that was started later with the same data directory. */
export const ifLatest = ({ server, run }: Pick<Book, "server" | "run">) => `
by=$(cat -- "$at/.symphony-ssh/${server}.run" 2>/dev/null)
case $by in "" | "${run} "*) ;; *) later "$by"; exit 1;; esac
`;

/**
 * Before a script whose `$1` is a workspace: says `later` as above, or `foreign` and the other server where the directory has
 * another one's mark. The id of this server has no character that a shell knows.
 */
export const ifOwn = (book: Pick<Book, "server" | "run">) => `
later() { say later "$1"; }; at=\${1%/*}${ifLatest(book)}
case $(cat -- "\${1%/*}/.symphony-ssh/\${1##*/}.owner" 2>/dev/null) in
  "" | "${book.server} "*) ;;
  *) say foreign "$(cat -- "\${1%/*}/.symphony-ssh/\${1##*/}.owner")"; exit;;
esac
`;

/**
 * `$1` root, `$2` key, `$3` the path that is known, `$4` the id of this server, `$5` its name. Says whether it made the
 * directory, its physical path, and where it moved an unknown directory that was in its place; or which other server has it.
 * What an earlier bootstrap left half made is made anew.
 */
export const prepare = (book: Pick<Book, "server" | "run">) => `${findRoot}
later() { say later "$1"; }; at=$root${ifLatest(book)}
ws=$root/$2; aside=; mark=$root/.symphony-ssh/$2.pending; owner=$root/.symphony-ssh/$2.owner
by=$(cat -- "$owner" 2>/dev/null)
if [ "\${by%% *}" != "$4" ]; then
  if [ -n "$by" ] && [ -e "$ws" ]; then say foreign "$by"; exit; fi
  rm -f -- "$owner" && ( set -C; echo "$4 $5" >"$owner" ) || exit 1
fi
[ -e "$mark" ] && { rm -rf -- "$ws" "$root/.symphony-ssh/$2.git" || exit 1; }
if [ -L "$ws" ]; then say refused "a link is in its place: $ws"; exit; fi
if [ -d "$ws" ] && [ "$ws" = "$3" ]; then say 0 "$ws"; exit; fi
if [ -d "$ws" ]; then
  aside=$root/.symphony-ssh/$2.aside-$(date +%s)-$$
  mv -T -- "$ws" "$aside" && rm -rf -- "$root/.symphony-ssh/$2.git" || exit 1
fi
if [ -e "$ws" ]; then say refused "something else is in its place: $ws"; exit; fi
: >"$mark" && mkdir -m 700 -- "$ws" || exit 1
by=$(cat -- "$owner")
[ "\${by%% *}" = "$4" ] || { rmdir -- "$ws"; say foreign "$by"; exit; }
say 1 "$ws" "$aside"`;

/** `$1` workspace, `$2` whether the bootstrap failed: then it is removed. */
export const bootstrapped = `
own=\${1%/*}/.symphony-ssh/\${1##*/}
[ "$2" = failed ] && { rm -rf -- "$1" "$own.git" "$own.owner" || exit 1; }
rm -f -- "$own.pending" && say ok`;

/** `$1` workspace, `$2` cookie, `$3` the hook. Its variables, one NUL after each, are its stdin. Says its status. */
export const hook = `run=$2${endRun}
cd -- "$1" || exit 1
out=$(mktemp) || exit 1
(
  while IFS= read -r -d "" one; do export "$one"; done
  export SYMPHONY_RUN_ID="$run"
  exec sh -c "$3" </dev/null >"$out" 2>&1
)
code=$?
end_run
say "$code"; tail -c 2048 "$out"; rm -f -- "$out"`;

/**
 * `$ws` is read by git through a repository of our own, \`g\`, which has the workspace's objects and none of its settings,
 * hooks and filters. A repository inside, as a commit names it, would be asked with its own settings: such a commit is not read. `$state`: a commit, a branch and a tree; or why nothing can be read, with `$head` empty.
 */
const readWork = `
export LC_ALL=C GIT_TERMINAL_PROMPT=0 GIT_NO_LAZY_FETCH=1 GIT_OPTIONAL_LOCKS=0 GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=symphony GIT_AUTHOR_EMAIL=symphony@localhost GIT_COMMITTER_NAME=symphony GIT_COMMITTER_EMAIL=symphony@localhost
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE
quiet="-c core.hooksPath=/dev/null -c core.fsmonitor=false -c gc.auto=0"
own=\${ws%/*}/.symphony-ssh/\${ws##*/}.git
w() { git --git-dir="$ws/.git" --work-tree="$ws" $quiet "$@"; }
g() { git --git-dir="$own" --work-tree="$ws" $quiet -c core.bare=false -c core.autocrlf=false -c core.excludesFile="$ws/.git/info/exclude" "$@"; }
open_own() {
  [ -d "$own" ] || git init -q --bare --template= --object-format="$(w rev-parse --show-object-format)" "$own" || return 1
  mkdir -p "$own/info" "$own/objects/info"
  echo "* -text -eol -crlf -ident -filter -working-tree-encoding" >"$own/info/attributes"
  echo "$ws/.git/objects" >"$own/objects/info/alternates"
}
has_links() { g ls-tree -r "$1" | grep -q ^160000; }
read_work() {
  head= branch=- tree= why= more=
  cd -- "$ws" 2>/dev/null || { why=gone; return; }
  if [ -L .git ] || ! [ -d .git ]; then why=plain; [ -n "$(ls -A)" ] || why=empty; return; fi
  if [ -s .git/shallow ]; then why=shallow; return; fi
  id=$(w rev-parse -q --verify "HEAD^{commit}") || { why=unborn; return; }
  open_own || { why=unreadable; return; }
  has_links "$id" && { why=submodules; return; }
  { g read-tree -m "$id" 2>/dev/null || g read-tree "$id"; } && more=$(g add -A . 2>&1) && tree=$(g write-tree) || { why=unreadable; return; }
  branch=$(w symbolic-ref -q HEAD) || branch=-
  head=$id
}`;

/** `$1` workspace, `$2` the state that is known, `$3` the most bytes, `$4`… commits that the receiver has. */
export const bringBack = `ws=$1 known=$2 max=$3; shift 3${readWork}
read_work
[ -n "$head" ] || { say "$why" "$(echo "$more" | tail -n 1)"; exit; }
[ "$head $branch $tree" = "$known" ] && { say same; exit; }
files=-
if [ "$tree" != "$(g rev-parse "$head^{tree}")" ]; then files=$(g commit-tree "$tree" -p "$head" -m files </dev/null) || exit 1; fi
g update-ref refs/kept/head "$head"
if [ "$files" = - ]; then g update-ref -d refs/kept/files; else g update-ref refs/kept/files "$files"; fi
not=
for one; do g cat-file -e "$one^{commit}" 2>/dev/null && not="$not ^$one"; done
out=$(mktemp) || exit 1
g bundle create -q "$out" --all $not 2>"$out.why" || { grep -q "empty bundle" "$out.why" || { cat "$out.why" >&2; exit 1; }; : >"$out"; }
size=$(wc -c <"$out")
if [ "$size" -gt "$max" ]; then say large "$size"; rm -f -- "$out" "$out.why"; exit; fi
say work "$head" "$branch" "$tree" "$files" "$(w config remote.origin.url)" "$size"
cat "$out"; rm -f -- "$out" "$out.why"`;

/** `$1` workspace, `$2` commit, `$3` branch, `$4` the commit with its files, `$5` origin, `$6` the state that is known. A bundle, or nothing, is stdin. Says the state. */
export const takeWork = `ws=$1 to=$2 on=$3 files=$4 origin=$5 known=$6${readWork}
cd -- "$ws" || exit 1
in=$(mktemp) && cat >"$in" || exit 1
if ! [ -e .git ]; then
  [ -z "$(ls -A)" ] || { say refused "it holds files and no repository"; exit; }
  format=sha1; [ "\${#to}" = 64 ] && format=sha256
  git init -q --template= --object-format="$format" . || exit 1
  [ -z "$origin" ] || w config remote.origin.url "$origin"
else
  read_work
  [ "$head $branch $tree" = "$known" ] || { say moved "something else has changed there"; exit; }
fi
if [ -s "$in" ]; then w bundle unbundle "$in" >/dev/null || exit 1; fi
rm -f -- "$in"
open_own && w cat-file -e "$to^{commit}" && g cat-file -e "$files^{commit}" || exit 1
if has_links "$to" || has_links "$files"; then say refused "it has submodules"; exit; fi
id=$(w rev-parse -q --verify "HEAD^{commit}") && { g read-tree -m "$id" 2>/dev/null || g read-tree "$id"; }
g add -A . && g read-tree --reset -u "$files" || exit 1
if [ "$on" = - ]; then w update-ref --no-deref HEAD "$to"; else w symbolic-ref HEAD "$on" && w update-ref "$on" "$to"; fi || exit 1
w read-tree "$to" && GIT_INDEX_FILE="$ws/.git/index" g update-index -q --refresh
read_work
say work "$head" "$branch" "$tree"`;

/** `$1` workspace, `$2` the state that has come back. Removes it unless it holds anything else; says why it stays. */
export const discard = `ws=$1 known=$2${readWork}
read_work
case $why in
  gone) rm -f -- "\${ws%/*}/.symphony-ssh/\${ws##*/}.owner"; say removed; exit;;
  empty) why=;;
  "") [ "$head $branch $tree" = "$known" ] || why="its last changes are only there";;
  *) why="what it holds is only there ($why)";;
esac
if [ -n "$head" ] && [ -z "$why" ]; then
  more=$(find . -mindepth 2 -name .git -print 2>/dev/null | head -n 1)
  [ -z "$more" ] || why="another repository is in it: $more"
  refs=$(w for-each-ref --format="%(refname)" refs/heads refs/stash refs/tags)
  [ -z "$refs" ] || more=$(w rev-list -n 1 $refs --not "$head" --remotes)
  [ -z "$more" ] || why="\${why:-a branch or stash of it is only there}"
fi
if [ -n "$why" ]; then say kept "$why"; exit; fi
cd / && rm -rf -- "$ws" "$own" "\${own%.git}.pending" "\${own%.git}.owner" && say removed`;
