// An action triggers a run of a DAG through Airflow's own API, as the person who clicked; Airflow checks the rights and
// the parameters, and takes JSON only. Then the page follows that run to its end.
import htmx from "htmx.org";
import { base } from "./ways.js";

function confirmed(question) {
  const dialog = document.getElementById("confirm");
  dialog.querySelector("p").textContent = question;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}

function say(text) {
  const place = document.getElementById("action");
  const alert = document.createElement("p");
  alert.className = "alert";
  alert.setAttribute("role", "alert");
  alert.textContent = text;
  place.replaceChildren(alert);
  place.scrollIntoView({ block: "nearest" });
}

async function refusal(response) {
  const words = await response.json().then((body) => body.detail ?? body.title, () => null);
  const said = typeof words === "string" ? words : JSON.stringify(words ?? response.statusText);
  return response.status === 403 ? `Airflow refuses: you may not trigger this DAG. ${said}` : `Airflow refuses (${response.status}): ${said}`;
}

async function start(form) {
  const dag = form.dataset.actionDag;
  const given = Object.fromEntries([...new FormData(form)].filter(([, value]) => value !== ""));
  const question = form.dataset.question.replace(/\{(\w+)\}/g, (_, name) => given[name] ?? "").replace(/ +\?/, "?");
  if (form.inert || !(await confirmed(question))) return;
  form.inert = true; // until the run is shown: a second click would be a second run
  const conf = { ...JSON.parse(form.dataset.actionConf), ...given };
  try {
    const response = await fetch(`${base}/api/v2/dags/${encodeURIComponent(dag)}/dagRuns`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ logical_date: null, conf, note: `Started from the page of ${document.title}` }),
    });
    if (!response.ok) return say(await refusal(response));
    const { dag_run_id: run } = await response.json();
    await htmx.ajax("GET", `action?dag_id=${encodeURIComponent(dag)}&run_id=${encodeURIComponent(run)}`, "#action");
    document.getElementById("action").scrollIntoView({ block: "nearest" });
  } catch (error) {
    say(`Airflow does not answer: ${error.message}`);
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
  // When the run has ended, the page shows what it changed.
  document.addEventListener("htmx:afterSettle", (event) => {
    if (event.detail.target.id === "action" && document.getElementById("live") && event.detail.target.querySelector("[data-ended]")) {
      htmx.ajax("GET", window.location.pathname + window.location.search, { target: "#live", select: "#live", swap: "outerHTML" });
    }
  });
}
