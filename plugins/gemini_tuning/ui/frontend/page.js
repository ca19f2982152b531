// The chart, Airflow's theme, actions, and links that leave the frame in which Airflow shows the page.
import "htmx.org";
import { followActions } from "./actions.js";
import { drawCharts } from "./chart.js";
import { followTheme } from "./theme.js";
import { copy, openExternal, openInAirflow, runPath, taskPath } from "./navigation.js";

followTheme(drawCharts);
drawCharts();
followActions();
document.addEventListener("htmx:afterSettle", () => drawCharts());

const isTimed = (event) => !event.detail.requestConfig.triggeringEvent;

document.addEventListener("htmx:beforeSwap", (event) => {
  // Show an error page in place. A failed refresh is retried instead.
  if (event.detail.xhr.status >= 400 && (!isTimed(event) || event.detail.target.id === "matrix")) {
    event.detail.shouldSwap = true;
    event.detail.isError = false;
    event.detail.selectOverride = "main > *";
  }
});

// Do not refresh a part in which the user has scrolled, opened details, or placed the focus.
document.addEventListener("htmx:beforeRequest", (event) => {
  const part = event.detail.elt;
  if (!part.matches("#live, #lines") || !isTimed(event)) return;
  const scrolled = [...part.querySelectorAll(".scroll")].some((table) => table.scrollLeft > 0);
  if (scrolled || part.querySelector("details[open]") || part.contains(document.activeElement)) event.preventDefault();
});

// A failed refresh leaves the page unchanged: show that it is out of date.
for (const failure of ["htmx:responseError", "htmx:sendError"]) {
  document.addEventListener(failure, (event) => {
    const status = event.detail.xhr?.status;
    const reason = status === 401 ? "your session has expired" : status ? `Airflow returned ${status}` : "Airflow is unavailable";
    if (isTimed(event)) document.getElementById("toasts").textContent = `This page is out of date: ${reason}. Reload it.`;
  });
}
document.addEventListener("htmx:afterSwap", (event) => {
  if (isTimed(event)) document.getElementById("toasts").textContent = "";
});

document.addEventListener("htmx:afterSwap", (event) => {
  const opens = event.detail.requestConfig?.elt?.dataset?.opens;
  if (opens) document.getElementById(opens).showModal();
});

document.addEventListener("click", (event) => {
  const target = event.target.closest("[data-copy], [data-external], [data-run], [data-overview]");
  if (!target) return;
  if (target.dataset.copy !== undefined) return void copy(target.dataset.copy);
  const { runDag, run, task, plain } = target.dataset;
  const opened =
    target.dataset.external !== undefined
      ? openExternal(target.href)
      : openInAirflow(
          run === undefined ? "/plugin/gemini-tuning"
          : task ? taskPath(runDag, run, task)
          : runPath(runDag, run, plain === undefined),
        );
  if (opened) event.preventDefault();
});
