// What a page does beyond links and forms. Without this script everything still works, with more clicks.
"use strict";

const player = document.querySelector("video[data-start]");

if (player) {
  const start = Number(player.dataset.start);
  player.addEventListener("loadedmetadata", () => { if (start > 0) player.currentTime = start; }, { once: true });
  for (const link of document.querySelectorAll("a[data-seek]")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      player.currentTime = Number(link.dataset.seek);
      player.focus();
      history.replaceState(null, "", link.href);
    });
  }
  const moment = document.querySelector("a[data-moment]");
  if (moment) {
    moment.addEventListener("click", () => {
      moment.href = `/?like=${moment.dataset.moment}&t=${player.currentTime.toFixed(3)}`;
    });
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
