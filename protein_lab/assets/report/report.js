// Selects which design the page shows. Without JavaScript all designs are shown one after another.
const structures = JSON.parse(document.getElementById("structures")?.textContent ?? "[]");
const host = document.getElementById("view");
const view =
  host && structures.length > 0
    ? globalThis.proteinLabView.mount(host, {
        structures, selected: 0, color: "structure", spin: false,
      })
    : null;

function select(place) {
  for (const part of document.querySelectorAll("[data-design]")) {
    part.hidden = Number(part.dataset.design) !== place;
  }
  for (const button of document.querySelectorAll("[data-select]")) {
    button.setAttribute("aria-pressed", String(Number(button.dataset.select) === place));
  }
  view?.update({ selected: place });
}

for (const button of document.querySelectorAll("[data-select]")) {
  button.addEventListener("click", () => {
    select(Number(button.dataset.select));
    if (button.closest("table")) {
      document.getElementById("shown")?.scrollIntoView({ behavior: "smooth" });
    }
  });
}
select(0);
