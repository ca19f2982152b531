// An action triggers a DAG run through Airflow's API as the signed-in user. Airflow checks the permissions and the
// parameters, and accepts JSON only. The page then shows the progress of the run until it has finished.
import htmx from "htmx.org";
import { base } from "./navigation.js";

function confirmed(question) {
  const dialog = document.getElementById("confirm");
  dialog.querySelector("p").textContent = question;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}

function showError(text) {
  const place = document.getElementById("action");
  const alert = document.createElement("p");
  alert.className = "alert";
  alert.setAttribute("role", "alert");
  alert.textContent = text;
  place.replaceChildren(alert);
  place.scrollIntoView({ block: "nearest" });
}

async function errorMessage(response) {
  const detail = await response.json().then((body) => body.detail ?? body.title, () => null);
  const text = typeof detail === "string" ? detail : JSON.stringify(detail ?? response.statusText);
  return response.status === 403 ? `You do not have permission to trigger this DAG. ${text}` : `The DAG was not triggered. Airflow returned ${response.status}: ${text}`;
}

async function start(form) {
  const dag = form.dataset.actionDag;
  const given = Object.fromEntries([...new FormData(form)].filter(([, value]) => value !== ""));
  const question = form.dataset.question.replace(/\{(\w+)\}/g, (_, name) => given[name] ?? "").replace(/ +\?/, "?");
  if (form.inert || !(await confirmed(question))) return;
  form.inert = true; // until the run is shown: a second click would trigger a second run
  const conf = { ...JSON.parse(form.dataset.actionConf), ...given };
  try {
    const response = await fetch(`${base}/api/v2/dags/${encodeURIComponent(dag)}/dagRuns`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ logical_date: null, conf, note: `Triggered from the page ${document.title}` }),
    });
    if (!response.ok) return showError(await errorMessage(response));
    const { dag_run_id: run } = await response.json();
    await htmx.ajax("GET", `action?dag_id=${encodeURIComponent(dag)}&run_id=${encodeURIComponent(run)}`, "#action");
    document.getElementById("action").scrollIntoView({ block: "nearest" });
  } catch (error) {
    showError(`Airflow is unavailable: ${error.message}`);
  } finally {
    form.inert = false;
  }
}

export function followActions() {
  document.addEventListener("submit", (event) => {
    const form = event.target.closest("form[data-action-dag]");
    if (!form) return;
    event.preventDefault();
    start(form);
  });
  // When the run has finished, the page shows what it changed.
  document.addEventListener("htmx:afterSettle", (event) => {
    if (event.detail.target.id === "action" && document.getElementById("live") && event.detail.target.querySelector("[data-ended]")) {
      htmx.ajax("GET", window.location.pathname + window.location.search, { target: "#live", select: "#live", swap: "outerHTML" });
    }
  });
}
