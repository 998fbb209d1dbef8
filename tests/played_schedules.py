"""Schedules played by scripts of accuracies, without any network."""


def play(schedule, scalars, steps=10_000):
  """Decisions of at most `steps` steps; `scalars(decision)` is what each of them measures."""
  decisions = []
  while len(decisions) < steps and (decision := schedule.next()) is not None:
    decisions.append(decision)
    schedule.record(decision, scalars(decision))
  return decisions


def scripted(**accuracies):
  """Each role measures the next accuracy of its script; the last one stays. A pick finds q the better reader."""
  scripts = {role.replace("_", "/"): list(values) for role, values in accuracies.items()}

  def scalars(decision):
    script = scripts.get(decision.role, [0.0])
    accuracy = script.pop(0) if len(script) > 1 else script[0]
    return {"action_accuracy": accuracy, "privacy_accuracy": accuracy, "privacy_loss/p": 0.5, "privacy_loss/q": 0.4}
  return scalars
