// What a page does beyond links and forms. Without this script everything still works, with more clicks.
"use strict";

const player = document.querySelector("video[data-start]");

if (player) {
  const start = Number(player.dataset.start);
  let wanted = start;
  // The original may be of a kind that browsers play and not play here: then the proxy is tried, then a line says so.
  const note = document.querySelector("[data-note=proxy]");
  const giveUp = () => {
    const proxy = player.dataset.proxy;
    if (proxy) {
      delete player.dataset.proxy;
      player.src = proxy;
      note.hidden = false;
    } else {
      player.removeAttribute("src");
      player.load();
      player.hidden = true;
      if (note) note.hidden = true;
      document.querySelector("[data-note=dead]").hidden = false;
    }
  };
  player.addEventListener("error", giveUp);
  player.addEventListener("loadedmetadata", () => {
    if (!player.videoWidth) giveUp();  // only its sound can be played
    else if (wanted > 0) player.currentTime = wanted;
  });
  player.addEventListener("timeupdate", () => { if (player.readyState >= 1) wanted = player.currentTime; });
  if (player.error) giveUp();  // it failed before this script began
  for (const link of document.querySelectorAll("a[data-seek]")) {
    link.addEventListener("click", (event) => {
      if (player.hidden) return;
      event.preventDefault();
      player.currentTime = Number(link.dataset.seek);
      player.focus();
      history.replaceState(null, "", link.href);
    });
  }
  const moment = document.querySelector("a[data-moment]");
  if (moment) {
    const follow = () => {
      if (!player.hidden) moment.href = `/?like=${moment.dataset.moment}&t=${player.currentTime.toFixed(3)}`;
    };
    for (const event of ["timeupdate", "seeked"]) player.addEventListener(event, follow);
  }
}

const form = document.querySelector("form[data-drop]");

if (form) {
  const input = form.querySelector("input[type=file]");
  input.addEventListener("change", () => form.requestSubmit());
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    form.classList.add("over");
  });
  document.addEventListener("dragleave", () => form.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    form.classList.remove("over");
    if (event.dataTransfer.files.length) {
      input.files = event.dataTransfer.files;
      form.requestSubmit();
    }
  });
}

// The filmstrip of a card: the picture follows the pointer along it, and the arrow keys while its name has the focus.
// The card's links lead to the moment that it shows, until the pointer or the focus leaves the card.
// Times of the stored pictures are fetched once, when they are first wanted.
for (const card of document.querySelectorAll(".card")) {
  const shot = card.querySelector("a.shot[data-video]");
  if (!shot) continue;
  const picture = shot.querySelector("img");
  const length = shot.querySelector(".length");
  const name = card.querySelector(".name");
  const more = card.querySelector(".more");
  const links = [shot, name, ...(more ? [more] : [])];
  const still = {
    src: picture.getAttribute("src"),
    length: length?.textContent,
    hrefs: links.map((link) => link.getAttribute("href")),
    hidden: more?.hidden,
  };
  const place = `/api/v1/videos/${shot.dataset.video}`;
  let strip = null;
  let times = [];
  let shown = -1;

  const fetched = () => {
    strip ??= fetch(`${place}/thumbnails`)
      .then((answer) => (answer.ok ? answer.json() : []))
      .then((found) => { times = found.map((one) => one.time_s); })
      .catch(() => { strip = null; });
    return strip;
  };
  const show = (number) => {
    if (number === shown || times.length < 2) return;
    shown = Math.min(Math.max(number, 0), times.length - 1);
    picture.src = `${place}/picture?t=${times[shown].toFixed(3)}`;
    if (length) length.textContent = clock(times[shown]);
    for (const link of links) link.href = at(link, times[shown]);
    if (more) more.hidden = false;
  };
  const restore = () => {
    if (shown < 0) return;
    shown = -1;
    picture.src = still.src;
    if (length) length.textContent = still.length;
    links.forEach((link, number) => link.setAttribute("href", still.hrefs[number]));
    if (more) more.hidden = still.hidden;
  };
  let share = 0;
  let inside = false;
  const follow = () => { if (inside) show(Math.floor(share * times.length)); };

  shot.addEventListener("pointerenter", (event) => {
    if (event.pointerType === "touch") return;
    inside = true;
    fetched().then(follow);
  });
  shot.addEventListener("pointermove", (event) => {
    const box = shot.getBoundingClientRect();
    share = (event.clientX - box.left) / box.width;
    follow();
  });
  shot.addEventListener("pointerleave", () => { inside = false; });
  card.addEventListener("pointerleave", restore);
  name.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    fetched().then(() => show(shown + step));
  });
  card.addEventListener("focusout", (event) => { if (!card.contains(event.relatedTarget)) restore(); });
}

// The address of a link with another moment.
function at(link, seconds) {
  const address = new URL(link.href);
  address.searchParams.set("t", seconds.toFixed(3));
  return address.pathname + address.search;
}

function clock(seconds) {
  const whole = Math.floor(seconds);
  const two = (number) => String(number).padStart(2, "0");
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes}:${two(whole % 60)}`;
  return `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(whole % 60)}`;
}
