"""A local Vertex AI for tuning Gemini: one process on the loopback interface, nothing to install beside it.

It answers the part of the Vertex AI API that tunes models with checkpoints (tuning jobs, models, copies,
endpoints, prompts, operations), with the bit of Cloud Storage and OAuth that the real clients need on the way.
google-genai, google-cloud-aiplatform (REST) and google-cloud-storage work against it unchanged.

What it is not: **it trains nothing**. There is no model in it. A "tuned checkpoint" is a lookup in the example
files it was given: it answers some of the examples right and others wrong, by a rule that imitates a model which
learns, and after a while overfits (see :mod:`vertex_emulator.learner`). Base models answer with small talk. No
number that comes out of it says anything about a real model, its quality, its cost or its speed.

Start it, and fetch the Airflow connection that points to it::

    python -m vertex_emulator --port 8085
    python -m vertex_emulator key --port 8085 --connection

Programs written for Google Cloud need no change to use it::

    eval "$(python -m vertex_emulator env --port 8085)"

Every option of ``python -m vertex_emulator --help`` may also be given in the environment, as VERTEX_EMULATOR_
and its name. Time is virtual: ``--speed 10`` makes jobs ten times as fast, ``--speed 0`` stops the clock, and
``POST /_emulator/advance {"seconds": 60}`` moves it on. Tokens expire in real time.

What is covered, approximated and not there, route by route: ``docs/vertex_emulator.md``.

``--state DIR`` keeps the state: killed at any moment and started again with the same directory, the emulator has the
same resources, ids, key and tokens, and jobs have gone on meanwhile (at ``--speed 0`` they have stood still).
``--seed 7`` makes runs alike: the same requests give the same ids, and at ``--speed 0`` the same times. Without it
ids are random, so that two emulators never give the same id to two things.

Its own API, which needs no token (:mod:`vertex_emulator.routes.control`)::

    GET    /_emulator/health       status, virtual time, speed, counts, requests so far
    GET    /_emulator/state        all resources
    GET    /_emulator/requests     the last requests, with bodies and replies of those to Vertex AI
    GET    /_emulator/key          the service-account key
    GET    /_emulator/connection   the Airflow connection
    POST   /_emulator/advance      {"seconds": 60}
    POST   /_emulator/buckets      {"name": "data"}
    POST   /_emulator/faults       a list of rules (see below); DELETE clears them
    POST   /_emulator/reset        forgets all resources, faults and requests

A fault rule makes requests go wrong, or jobs and operations made from then on. Of those that fit, it lets ``skip``
pass, then takes ``times`` (all, until the rules are cleared), each with ``probability`` (drawn from ``seed``). The
first rule that takes a request decides::

    {"method": "GET", "path": "/tuningJobs/", "status": 429, "message": "slow down", "times": 1, "retry_after": 7}
    {"method": "POST", "path": "tuningJobs$", "drop": "after", "times": 1}
    {"checkpoint": "2", "model": "^nightly", "delay": 3}
    {"job": {"display_name": "^nightly", "labels": {"team": "a"}}, "outcome": "failed",
     "error": {"code": 8, "message": "out of chips"}}
    {"operation": "copy", "outcome": "failed", "error": {"code": 8, "message": "no room"}}

==================  ===============================================================================================
``status``          Google's error body, with ``message``, ``grpc_status`` and ``retry_after``; 503 if nothing is said
``applied: true``   ... after the request took effect
``drop``            the connection is closed without an answer, ``before`` or ``after`` the request took effect
``body``            ``html`` (a proxy's page, 502 or ``status``); ``truncated`` (half of the answer, then the connection
                    is closed); ``malformed`` (half of the answer, as if that were all)
``token: expired``  401
``delay``           real seconds first; alone, the answer is right
``checkpoint``,     only prompts that this checkpoint answers, of models whose name or display name has this pattern
``model``
``outcome``         of jobs: :class:`vertex_emulator.lifecycle.Outcome`; of operations: ``failed`` or ``stalled``
==================  ===============================================================================================

Where the real service's behaviour is not documented, this is the emulator's choice, and code must not rely on it:

- Default number of epochs and examples per step (:mod:`~vertex_emulator.lifecycle`); tokens are a quarter of the
  characters.
- A new job is PENDING first, or with ``--first-state queued`` QUEUED.
- The model is there from the first checkpoint on, and has no default checkpoint until
  the final one is saved. Failed and cancelled jobs keep the model and the checkpoints saved so far.
- A job above ``--job-limit`` waits in PENDING, or is refused with 429, as ``--over-limit`` says.
- Preference tuning learns the better completion as the answer.
- Evaluations take no time, use the training dataset when there is no validation dataset, and lay out their result
  files in their own way.
- The first model of an endpoint gets all traffic even without a traffic split.
- New versions of a model do not become its default version.
- The texts of errors, the grammar of filters beyond comparisons joined by AND, the base-model label.
- Prompts: temperature, tools and response schemas have no effect; parts that are files count as their address.

How it is built: a job's life is a list of timed events (:mod:`~vertex_emulator.lifecycle`), and every request
first applies the events that are due; nothing runs in the background. Pure modules (``dataset``, ``evaluation``,
``filters``, ``learner``, ``lifecycle``, ``metrics``, ``names``, ``paging``, ``preference``, ``prompts``,
``protojson``, ``render``, ``tuning_request``) know neither state nor network; ``records`` is the state; ``tuning``,
``registry``, ``serving``, ``deployment``, ``evaluations``, ``operations``, ``files`` and ``buckets`` change it;
``experiments`` reads it; ``history``, ``log`` and ``replay`` keep it; ``world`` puts them together; ``routes`` speak
HTTP, through ``app``. For tests,
:class:`vertex_emulator.process.Emulator` runs all of it as a process.
"""

__version__ = "0.1.0"
