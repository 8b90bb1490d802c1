"""Made-up dialogues in which tools are called, so that a model of this size learns the form of a call.

The names of most tools are put together at random, and so are half of the values: the model has to copy them from the
list of tools and from the request. The chat template of the model writes the text.
"""

import json
import random

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

CITIES = """London Paris Rome Vienna Madrid Lisbon Dublin Berlin Athens Cairo Moscow Prague Naples Venice Florence Geneva
Boston Chicago Denver Seattle Houston Toronto Montreal Sydney Tokyo Delhi Bombay Bristol Oxford Cambridge York Bath Dover
Edinburgh Glasgow Hamburg Munich Brussels Bergen Oslo Stockholm Warsaw Budapest Marseilles Lyons Bordeaux Calais""".split()
PEOPLE = """Alice John Mary Tom Jane Robert Anna Peter Emma Henry Clara George Lucy Edward Martha Philip Helen Walter Rose
Arthur Margaret Frank Dorothy Hugh Agnes Ralph Ellen Oliver Kate Simon Julia Mark Sara Daniel Eva Paul Nora Max""".split()
SYLLABLES = "ba bel cor dan del el fan gar hal in jor kel lan mar mil nor ol per quin ras sel tan ul ver wil yor zan".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday today tomorrow".split()
VERBS = "find show open send count read check mark move play save search list load paint build buy sell fetch lock".split()
NOUNS = """lamp door map ship letter garden clock song road train table bridge horse picture room tower coat key book boat
lake river ring bell shop house star cloud tree stone""".split()
SYSTEM_MESSAGES = [
    "You tell stories.",
    "You are a storyteller.",
    "You are a helpful assistant.",
    "Answer with a story.",
    "Be kind and brief.",
]


def made_up_name():
    return "".join(random.choices(SYLLABLES, k=random.choice([2, 2, 3]))).capitalize()


def person():
    return random.choice(PEOPLE) if random.random() < 0.5 else made_up_name()


def city():
    return random.choice(CITIES) if random.random() < 0.6 else made_up_name()


def clock_time():
    return f"{random.randint(1, 12)}:{random.choice(['00', '15', '30', '45'])}"


def number():
    return random.randint(1, 100)


VALUES = {
    "city": city,
    "name": person,
    "day": lambda: random.choice(DAYS),
    "time": clock_time,
    "number": number,
    "topic": lambda: random.choice(NOUNS),
    "other": number,
}

# (names, descriptions, arguments, requests, result, answer); {..} stands for a value
KNOWN_TOOLS = [
    (
        ["get_weather", "weather", "get_current_weather", "weather_in"],
        ["The weather in a city.", "Get the weather.", "Get the current weather in a given city."],
        ["city"],
        [
            "What is the weather in {city}?",
            "How is the weather in {city} today?",
            "What's the weather like in {city}?",
            "Is it raining in {city}?",
            "Tell me the weather in {city}.",
        ],
        '{{"weather": "{sky}", "degrees": {number}}}',
        "It is {sky} in {city}, {number} degrees.",
    ),
    (
        ["get_time", "time_in", "current_time"],
        ["The time in a city.", "Get the current time."],
        ["city"],
        ["What time is it in {city}?", "Tell me the time in {city}.", "How late is it in {city}?"],
        '{{"time": "{time}"}}',
        "It is {time} in {city}.",
    ),
    (
        ["set_alarm", "wake_me", "set_timer"],
        ["Set an alarm.", "Wake the user at a time."],
        ["time"],
        ["Wake me at {time}.", "Set an alarm for {time}, please.", "Please wake me at {time}."],
        '{{"ok": true}}',
        "I shall wake you at {time}.",
    ),
    (
        ["send_message", "send_letter", "write_to"],
        ["Send a message to somebody.", "Write a letter."],
        ["name"],
        ["Send a message to {name}.", "Write to {name}, please.", "Please send {name} a letter."],
        '{{"ok": true}}',
        "The message to {name} is sent.",
    ),
    (
        ["add", "add_numbers", "sum"],
        ["Add two numbers.", "The sum of two numbers."],
        ["number", "other"],
        ["What is {number} plus {other}?", "Add {number} and {other}.", "How much is {number} and {other}?"],
        '{{"sum": {sum}}}',
        "It is {sum}.",
    ),
    (
        ["find_book", "search_books", "library"],
        ["Find a book about something.", "Search the library."],
        ["topic"],
        ["Find a book about the {topic}.", "Is there a book about a {topic}?", "I want a book about the {topic}."],
        '{{"author": "{name}"}}',
        "There is one by {name}.",
    ),
    (
        ["roll_dice", "dice", "roll"],
        ["Roll dice.", "Throw some dice."],
        ["number"],
        ["Roll {number} dice.", "Throw {number} dice, please."],
        '{{"total": {other}}}',
        "You have thrown {other}.",
    ),
    (
        ["book_train", "find_train", "train_times"],
        ["Find a train.", "Trains to a city on a day."],
        ["city", "day"],
        ["I want a train to {city} on {day}.", "Is there a train to {city} {day}?", "Find me a train to {city}, {day}."],
        '{{"time": "{time}"}}',
        "There is a train to {city} at {time}.",
    ),
]


def made_up_tool():
    verb, noun = random.choice(VERBS), random.choice(NOUNS)
    argument = random.choice(["name", "city", "number", "day"])
    name = random.choice([f"{verb}_{noun}", f"{noun}_{verb}", f"{verb}{noun.capitalize()}"])
    phrase = {"name": "of {name}", "city": "in {city}", "number": "number {number}", "day": "for {day}"}[argument]
    requests = [f"{verb.capitalize()} the {noun} {phrase}.", f"Please {verb} the {noun} {phrase}."]
    requests.append(f"Can you {verb} the {noun} {phrase}?")
    answer = random.choice([f"The {noun} is ready.", "It is done."])
    return name, f"{verb.capitalize()} a {noun}.", [argument], requests, '{{"ok": true}}', answer


def draw_tool():
    if random.random() < 0.5:
        return made_up_tool()
    names, descriptions, *rest = random.choice(KNOWN_TOOLS)
    return random.choice(names), random.choice(descriptions), *rest


def definition(tool):
    """The tool as an OpenAI client sends it."""
    name, description, arguments, *_ = tool
    types = {key: {"type": "integer" if key in ("number", "other") else "string"} for key in arguments}
    function = {"name": name, "description": description}
    function["parameters"] = {"type": "object", "properties": types, "required": arguments}
    return {"type": "function", "function": function}


def draw_tools():
    """One to three tools with different names."""
    return list({tool[0]: tool for tool in (draw_tool() for _ in range(random.randint(1, 3)))}.values())


def maybe_system_message(probability=0.2):
    if random.random() >= probability:
        return []
    return [{"role": "system", "content": random.choice(SYSTEM_MESSAGES)}]


def call_dialogue():
    """(messages, tools): a request that one of the tools meets, its call, and for most the result and the answer."""
    tools = draw_tools()
    name, _, arguments, requests, result, answer = random.choice(tools)
    values = {key: draw() for key, draw in VALUES.items()}
    values["sum"] = values["number"] + values["other"]
    values["sky"] = random.choice(["sunny", "cloudy", "windy", "cold", "warm", "foggy", "clear"])
    call = {"name": name, "arguments": {key: values[key] for key in arguments}}
    messages = maybe_system_message()
    messages.append({"role": "user", "content": random.choice(requests).format(**values)})
    messages.append({"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": call}]})
    if random.random() < 0.7:
        messages.append({"role": "tool", "content": result.format(**values)})
        messages.append({"role": "assistant", "content": answer.format(**values)})
    return messages, [definition(tool) for tool in tools]


class ChatTemplate:
    """The chat template of a model's tokenizer_config.json, rendered as transformers does."""

    def __init__(self, config_path):
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
        with open(config_path, encoding="utf8") as file:
            self.template = environment.from_string(json.load(file)["chat_template"])

    def render(self, messages, tools=None):
        try:
            return self.template.render(messages=messages, tools=tools, add_generation_prompt=False)
        except jinja2.TemplateError as error:
            raise ValueError(f"the chat template cannot write {messages}") from error
