"""The worlds: interface, bounds, dynamics against independent forms, Gymnasium, and the scripted data."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from cql_tutorial import envs
from cql_tutorial.envs import Arm, Bandit, Gridworld, Maze, Pendulum, TabularWorld, UniformPolicy
from cql_tutorial.errors import ConfigError, DataError

torch.set_num_threads(1)
NAMES = sorted(envs.WORLDS)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---------------------------------------------------------------- all worlds
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", NAMES)
def test_interface_shapes_dtypes_and_bounds(name: str, dtype: torch.dtype) -> None:
    world, g = envs.make(name), generator()
    states, policy = world.reset(50, g, dtype), UniformPolicy(world)
    high = torch.tensor(world.observation_high, dtype=dtype)
    for _ in range(min(world.horizon, 60)):
        observations = world.observe(states)
        assert observations.shape == (50, world.observation_dim) and observations.dtype == dtype
        assert (observations.abs() <= high).all()
        states, rewards, terminations = world.step(states, policy(observations, g), g)
        assert states.dtype == rewards.dtype == dtype and terminations.dtype == torch.bool
        assert rewards.shape == terminations.shape == (50,)
        assert world.reward_low <= rewards.min() and rewards.max() <= world.reward_high
        assert world.terminates or not terminations.any()


@pytest.mark.parametrize("name", NAMES)
def test_an_observation_carries_all_that_the_dynamics_need(name: str) -> None:
    """Two copies, one of which is rebuilt from its observation at every step, go on alike."""
    world, g = envs.make(name), generator(1)
    states = world.reset(40, g, torch.float64)
    for t in range(20):
        again = world.states_of(world.observe(states))
        assert torch.allclose(world.observe(again), world.observe(states), atol=1e-12)
        actions = UniformPolicy(world)(world.observe(states), g)
        one, two = (world.step(start, actions, generator(t)) for start in (states, again))
        assert torch.allclose(world.observe(one[0]), world.observe(two[0]), atol=1e-12)
        assert torch.allclose(one[1], two[1], atol=1e-12) and (one[2] == two[2]).all()
        states = one[0]


@pytest.mark.parametrize("name", NAMES)
def test_one_seed_decides_everything(name: str) -> None:
    world, other = envs.make(name), envs.make(name, **envs.make(name).settings)

    def run(world: envs.World, seed: int) -> torch.Tensor:
        g = generator(seed)
        states, seen = world.reset(5, g), []
        for _ in range(5):
            states, rewards, _ = world.step(states, UniformPolicy(world)(world.observe(states), g), g)
            seen.append(torch.cat([world.observe(states).flatten(), rewards]))
        return torch.stack(seen)

    assert torch.equal(run(world, 3), run(other, 3)) and not torch.equal(run(world, 3), run(world, 4))


@pytest.mark.parametrize("name", [n for n in NAMES if not envs.WORLDS[n].discrete])
def test_actions_beyond_the_bounds_are_clipped(name: str) -> None:
    world = envs.make(name)
    states = world.reset(6, generator())
    ones = torch.ones(6, world.action_dim)
    for sign, bound in ((-1, world.action_low), (1, world.action_high)):
        for a, b in zip(world.step(states, 9 * sign * ones), world.step(states, bound * ones), strict=True):
            assert torch.equal(a, b)


def test_wrong_actions_are_named() -> None:
    with pytest.raises(DataError, match=r"maze: actions: found shape \(4, 3\); expected shape \(4, 2\)"):
        Maze().step(Maze().reset(4), torch.zeros(4, 3))
    grid = Gridworld()
    with pytest.raises(DataError, match="values 0 to 4; expected whole numbers from 0 to 3"):
        grid.step(grid.reset(2), torch.tensor([0, 4]))
    with pytest.raises(DataError, match=r"dtype torch\.float32; expected integers"):
        grid.step(grid.reset(2), torch.zeros(2))


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        (
            "mase",
            {},
            "one of arm, bandit, discrete-bandit, garnet, gridworld, maze, pendulum, sepsis. To mend it: did you",
        ),
        ("maze", {"horizn": 3}, "maze.horizn: found an unknown setting; expected one of discount, horizon, half_width"),
        ("maze", {"observation_dim": 3}, "unknown setting"),
        ("maze", {"step_size": 0.5}, "maze.step_size: found 0.5"),
        ("maze", {"goal": 1.5}, "maze.goal"),
        ("maze", {"half_width": 0.0}, "maze.half_width"),
        ("maze", {"horizon": 0}, "maze.horizon: found 0"),
        ("arm", {"joints": 0}, "arm.joints"),
        ("arm", {"start_angle": 4.0}, "arm.start_angle"),
        ("arm", {"step_size": 0}, "arm.step_size"),
        ("pendulum", {"discount": 1.5}, "pendulum.discount: found 1.5"),
        ("gridworld", {"slip": -0.1}, "gridworld.slip"),
        ("gridworld", {"size": 2}, "gridworld.size"),
        ("bandit", {"widths": (0.1,)}, "one number of each for every bump"),
        ("bandit", {"widths": (0.1, 0.0)}, "bandit.widths"),
        ("bandit", {"noise": -1}, "bandit.noise"),
        ("bandit", {"actions": 0}, "bandit.actions"),
        ("discrete-bandit", {"rewards": ()}, "discrete-bandit.rewards"),
        ("garnet", {"branching": 11}, "garnet.branching: found 11; expected at most the 10 states"),
        ("garnet", {"states": 0}, "garnet.states"),
        ("sepsis", {"discount": 2.0}, "sepsis.discount"),
    ],
)
def test_bad_settings_are_named(name: str, settings: dict, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        envs.make(name, **settings)
    assert message in str(caught.value)


@pytest.mark.slow
def test_the_worlds_need_no_gymnasium() -> None:
    code = (
        "import sys; from cql_tutorial import envs; envs.make('maze');"
        "bad = {'gymnasium', 'scipy', 'minari', 'h5py'} & set(sys.modules); assert not bad, bad"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


# ---------------------------------------------------------------- Gymnasium
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore:.*action space.*:UserWarning")
def test_gymnasium_checks_pass(name: str) -> None:
    import gymnasium
    from gymnasium.envs.registration import EnvSpec
    from gymnasium.utils.env_checker import check_env

    from cql_tutorial.envs.gymnasium_env import env_id

    settings: dict[str, Any] = {} if name.endswith("bandit") else {"horizon": 7}
    env: Any = envs.make(name, **settings).env()
    check_env(env)
    made = gymnasium.make(env_id(name), **settings)
    rebuilt = gymnasium.make(EnvSpec.from_json(env.spec.to_json()))  # what Minari does with a data set's environment
    for other in (made, rebuilt):
        assert np.array_equal(env.reset(seed=5)[0], other.reset(seed=5)[0])
        env.action_space.seed(0)
        for step in range(1, env.world.horizon + 1):
            action = env.action_space.sample()
            one, two = env.step(action), other.step(action)
            assert np.array_equal(one[0], two[0]) and one[1:4] == two[1:4]
            if one[2]:
                assert not one[3]
                break
            assert one[3] == (step == env.world.horizon)


def test_render_modes_are_refused() -> None:
    with pytest.raises(ConfigError, match="render_mode"):
        Maze().env("human")


def test_reset_options_choose_the_arm_of_the_maze() -> None:
    env = Maze().env()
    assert env.reset(seed=0)[0][0] < -1.2 and env.reset(seed=0, options={"arm": "right"})[0][0] > 1.2


# ---------------------------------------------------------------- pendulum
@pytest.mark.parametrize("seed", range(4))
def test_pendulum_equals_gymnasiums(seed: int) -> None:
    import gymnasium

    env: Any = gymnasium.make("Pendulum-v1").unwrapped
    world, rng = Pendulum(), np.random.default_rng(seed)
    env.reset(seed=seed)
    start = rng.uniform([-math.pi, -1.0], [math.pi, 1.0])
    env.state, states = start.copy(), torch.as_tensor(start)[None]
    for t in range(1000):
        # long pushes in one direction wind the angle beyond pi and hit the speed limit; some torques need clipping
        torque = rng.uniform(-3, 3, 1) if (t // 100) % 2 else np.array([2.5])
        observation, reward, _, _, _ = env.step(torque)
        states, rewards, _ = world.step(states, torch.as_tensor(torque)[None])
        assert np.abs(states[0].numpy() - env.state).max() < 1e-6
        assert np.abs(world.observe(states)[0].numpy() - observation).max() < 1e-6
        assert abs(float(rewards) - reward) < 1e-6
    assert Pendulum().reward_low == pytest.approx(-16.2736044)


def test_pendulum_starts_as_gymnasium_does() -> None:
    import gymnasium

    env: Any = gymnasium.make("Pendulum-v1").unwrapped
    theirs = np.array([env.reset(seed=s)[0] is not None and env.state for s in range(3000)])
    ours = Pendulum().reset(3000, generator(), torch.float64).numpy()
    for column, bound in enumerate((math.pi, 1.0)):
        grid = np.sort(np.concatenate([ours[:, column], theirs[:, column]]))
        cdf = [np.searchsorted(np.sort(x[:, column]), grid) / 3000 for x in (ours, theirs)]
        assert np.abs(cdf[0] - cdf[1]).max() < 1.95 * math.sqrt(2 / 3000)  # Kolmogorov-Smirnov, p = .001
        assert 0.99 * bound < np.abs(ours[:, column]).max() <= bound


# ---------------------------------------------------------------- gridworld
def test_gridworld_layout_and_slip() -> None:
    world = Gridworld()
    assert world.start_state == 56 and world.goal == 63 and world.cliff == [57, 58, 59, 60, 61, 62]
    assert world.terminal_states.nonzero().flatten().tolist() == [57, 58, 59, 60, 61, 62, 63]
    assert world.transitions.dtype == world.expected_rewards.dtype == torch.float64
    row = world.transitions[27]  # an inner cell, row 3, column 3
    for action, target in enumerate((19, 28, 35, 26)):  # up, right, down, left
        assert row[action, target].item() == pytest.approx(0.925) and row[action].sum().item() == pytest.approx(1)
        assert row[action][[t for t in (19, 28, 35, 26) if t != target]].tolist() == pytest.approx([0.025] * 3)
    assert world.transitions[0, 0, 0].item() == pytest.approx(0.925 + 0.025)  # up and left bump at the corner
    # right from the start: cliff with .925, up or not moving (down, left) otherwise
    assert world.expected_rewards[56, 1].item() == pytest.approx(-10 * 0.925 - 0.1 * 0.075)
    assert world.expected_rewards[55, 2].item() == pytest.approx(10 * 0.925 - 0.1 * 0.075)
    assert (world.expected_rewards[world.terminal_states] == 0).all()


def test_gridworld_steps_follow_the_table() -> None:
    world = Gridworld(slip=0.4)
    for state, action in ((27, 1), (56, 0), (0, 3), (48, 2)):
        states = world.one_hot(torch.full((20_000,), state))
        following, rewards, ended = world.step(states, torch.full((20_000,), action), generator(state))
        share, p = following.double().mean(0), world.transitions[state, action]
        assert ((share - p).abs() <= 4.5 * (p * (1 - p) / 20_000).sqrt()).all()  # exactly 0 where p is 0
        index = following.argmax(-1)
        assert (ended == world.terminal_states[index]).all()
        assert torch.allclose(rewards.double(), world.transition_rewards[state, action][index], atol=1e-6)
    goal = world.one_hot(torch.tensor([world.goal]))
    following, rewards, ended = world.step(goal, torch.tensor([0]))
    assert torch.equal(following, goal) and rewards.item() == 0 and ended.item()


def test_tables_are_checked_and_rewards_may_depend_on_the_next_state() -> None:
    transitions = torch.tensor([[[0.3, 0.7]], [[0.5, 0.5]]])
    world = TabularWorld.from_tables(transitions, torch.tensor([[[1.0, 2.0]], [[9.0, 9.0]]]), [False, True])
    assert world.expected_rewards.tolist() == [[pytest.approx(1.7)], [0.0]]
    assert (world.reward_low, world.reward_high) == (1.0, 2.0)
    assert world.transitions[1, 0].tolist() == [0.0, 1.0]
    with pytest.raises(ConfigError, match=r"transitions\[0, 0\]: found a row that sums to 1.2"):
        TabularWorld.from_tables(transitions * 1.2, torch.zeros(2, 1), [False, False])


def test_garnet_is_random_branching_and_decided_by_its_seed() -> None:
    world = envs.Garnet(states=7, actions=2, branching=3, seed=5)
    assert ((world.transitions > 0).sum(-1) == 3).all() and not world.terminal_states.any()
    assert torch.allclose(world.transitions.sum(-1), torch.ones(7, 2, dtype=torch.float64))
    assert torch.equal(world.transitions, envs.Garnet(states=7, actions=2, branching=3, seed=5).transitions)
    other = envs.Garnet(states=7, actions=2, branching=3, seed=6)
    assert not torch.equal(world.expected_rewards, other.expected_rewards)
    assert 0 <= world.reward_low < world.reward_high <= 1


def test_moves_on_numbers_are_the_steps_on_rows() -> None:
    world, states = Gridworld(), torch.arange(56)
    actions = torch.randint(4, (56,), generator=generator(1))
    there, rewards, ended = world.move(states, actions, generator(2))
    following, paid, over = world.step(world.one_hot(states, torch.float64), actions, generator(2))
    assert torch.equal(following.argmax(-1), there) and torch.equal(paid, rewards) and torch.equal(over, ended)
    policy = torch.rand(64, 4, generator=generator(3), dtype=torch.float64)
    assert torch.allclose(world.chain(policy), (policy[..., None] * world.transitions).sum(1))
    assert world.start_distribution().nonzero().tolist() == [[56]]


def test_discrete_bandit_pays_its_arms_once() -> None:
    world = envs.make("discrete-bandit")
    states, rewards, ended = world.step(world.reset(4), torch.arange(4))
    assert rewards.tolist() == pytest.approx([1.0, 0.8, 0.5, 0.0]) and ended.all()
    assert world.step(states, torch.arange(4))[1].tolist() == [0, 0, 0, 0]


# ---------------------------------------------------------------- bandit
def test_bandit_is_separable_and_its_bounds_are_tight() -> None:
    world = Bandit(actions=3, heights=(1.0, -2.0, 0.5), centres=(-0.5, 0.2, 0.9), widths=(0.3, 0.05, 0.02))
    actions = 2 * torch.rand(200_000, 3, generator=generator(), dtype=torch.float64) - 1
    by_hand = np.zeros(len(actions))
    for h, c, w in ((1, -0.5, 0.3), (-2, 0.2, 0.05), (0.5, 0.9, 0.02)):
        by_hand += (h * np.exp(-((actions.numpy() - c) ** 2) / (2 * w * w))).sum(-1)
    values = world.reward_function(actions)
    assert np.allclose(values.numpy(), by_hand)
    parts = [f(actions[:, j]) for j, f in enumerate(world.per_dimension)]
    assert torch.allclose(torch.stack(parts).sum(0), values)
    line = world.bumps(torch.linspace(-1, 1, 200_003, dtype=torch.float64))
    assert world.reward_low <= 3 * line.min() and 3 * line.max() <= world.reward_high
    assert world.reward_high - 3 * line.max() < 0.02 and 3 * line.min() - world.reward_low < 0.02


def test_bandit_noise_has_its_standard_deviation() -> None:
    world, actions = Bandit(actions=2, noise=0.5), torch.full((40_000, 2), 0.3)
    _, rewards, ended = world.step(world.reset(40_000), actions, generator())
    assert ended.all() and rewards.std().item() == pytest.approx(0.5, rel=0.02)
    assert rewards.mean().item() == pytest.approx(world.reward_function(actions[0]).item(), abs=4 * 0.5 / 200)


# ---------------------------------------------------------------- maze
def inside(positions: torch.Tensor) -> torch.Tensor:
    w = torch.tensor(0.2, dtype=positions.dtype)
    return (positions.abs() <= 1).all(-1) & (positions.abs() <= w).any(-1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nobody_leaves_the_corridors(dtype: torch.dtype) -> None:
    world, g = Maze(), generator()
    states = torch.cat([world.reset(250, g, dtype, arm) for arm in ("left", "right", "top", "bottom")])
    heading = 2 * torch.rand(1000, 2, generator=g, dtype=dtype) - 1
    for _ in range(60):
        assert inside(states).all()
        before = states
        noise = torch.rand(1000, 2, generator=g, dtype=dtype) - 0.5
        states, rewards, _ = world.step(states, heading + noise, g)
        assert ((states - before).abs() <= 0.12 + 1e-6).all()
        assert torch.equal(rewards, (states[:, 1] > 0.75).to(dtype))


def test_maze_moves_and_slides() -> None:
    world = Maze()

    def moved(x: float, y: float, *action: float) -> list[float]:
        state = torch.tensor([[x, y]], dtype=torch.float64)
        return world.step(state, torch.tensor([action]))[0][0].tolist()

    assert moved(0.0, 0.0, 0.5, -1.0) == pytest.approx([0.06, -0.12])
    assert moved(-0.6, 0.19, 1.0, 1.0) == pytest.approx([-0.48, 0.2])  # along the wall at full speed
    assert moved(0.19, -0.6, 1.0, -1.0) == pytest.approx([0.2, -0.72])
    assert moved(-0.98, 0.0, -1.0, 0.5) == pytest.approx([-1.0, 0.06])  # along the end of an arm
    assert moved(-0.21, 0.19, 1.0, 1.0) == pytest.approx([-0.09, 0.31])  # around the corner, into the top arm
    assert moved(-0.43, 0.2, 1.0, 1.0) == pytest.approx([-0.31, 0.2])  # but not through the corner
    assert moved(0.19, 0.1, 1.0, 1.0) == pytest.approx([0.31, 0.2])
    assert moved(float(np.float32(0.2)), 0.5, 0.0, -1.0) == pytest.approx([0.2, 0.38])  # float32's 0.2 is above 0.2
    assert (world.observe(torch.tensor([[0.25, -0.5]])) == torch.tensor([[0.5, -1.0]])).all()


@pytest.mark.parametrize(("arm", "axis", "sign"), [("left", 0, -1), ("right", 0, 1), ("top", 1, 1), ("bottom", 1, -1)])
def test_maze_starts_lie_in_their_arm(arm: str, axis: int, sign: int) -> None:
    starts = Maze().reset(500, generator(), arm=arm)
    assert (sign * starts[:, axis] >= 0.75).all() and (starts[:, 1 - axis].abs() <= 0.15).all()
    assert starts[:, axis].abs().max() > 0.94 and starts[:, 1 - axis].abs().max() > 0.14
    if arm == "left":
        assert torch.equal(starts, Maze().reset(500, generator()))
    with pytest.raises(ConfigError, match="expected one of"):
        Maze().reset(2, arm="middle")


@pytest.mark.parametrize("seed", range(5))
def test_stitching_data_never_show_the_whole_way(seed: int) -> None:
    world = Maze()
    data = envs.stitching_episodes(world, generator=generator(seed))
    assert len(data["rewards"]) == 8000 and data["episode_starts"].tolist() == list(range(0, 8000, 50))
    assert data["truncations"].nonzero().flatten().tolist() == list(range(49, 8000, 50))
    assert not data["terminations"].any() and data["actions"].abs().max() <= 1
    positions = world.states_of(data["next_observations"]).view(160, 50, 2)
    rewards = data["rewards"].view(160, 50)
    assert (rewards[:120] == 0).all(), "a left-arm episode reached the goal"
    assert positions[:120, :, 1].max() < 0.3, "a left-arm episode entered the top arm"
    assert (positions[:120, -1, 1] < -0.9).all() and (positions[120:, -1, 1] > 0.9).all()
    assert (rewards[120:].sum(1) >= 15).all() and positions[120:, :, 0].min() > -0.3
    # consecutive rows of an episode belong together, and the two halves meet at the centre: there is a way to stitch
    within = torch.ones(8000, dtype=torch.bool)
    within[data["truncations"]] = False
    following = torch.roll(data["observations"], -1, 0)
    assert torch.equal(data["next_observations"][within], following[within])
    left, right = positions[:120].reshape(-1, 2), positions[120:].reshape(-1, 2)
    turning = right[(right[:, 1] > 0.0) & (right[:, 1] < 0.2) & (right[:, 0].abs() < 0.1)]
    assert (torch.cdist(turning, left).min(1).values < 0.05).sum() >= 10


def test_script_speed_and_noise() -> None:
    script = envs.stitching_behaviour("left", "down", noise=0.2)
    for place, mean in (
        ((-0.5, 0.05), (0.6, -0.1)),  # inward, back to the middle of the corridor
        ((-0.05, 0.1), (0.1, -0.6)),  # past the turning point
        ((-0.15, -0.3), (0.3, -0.6)),  # on its way down
        ((0.3, -0.1), (-0.6, 0.2)),  # adrift beyond the centre
    ):
        actions = script(2 * torch.tensor([place]).expand(20_000, 2), generator())
        assert torch.allclose(actions.mean(0), torch.tensor(mean), atol=0.01)
        assert actions.std(0).numpy() == pytest.approx([0.2, 0.2], rel=0.05)
    for arm, turn in (("top", "down"), ("left", "left")):
        with pytest.raises(ConfigError, match="stitching_behaviour"):
            envs.stitching_behaviour(arm, turn)


# ---------------------------------------------------------------- arm
def test_arm_geometry_and_reward() -> None:
    world = Arm(joints=2)
    state = torch.tensor([[math.pi / 2, -math.pi / 2, 0.3, 0.4]], dtype=torch.float64)
    assert world.joint_positions(state)[0].numpy() == pytest.approx(np.array([[0, 0], [0, 0.5], [0.5, 0.5]]))
    assert world.observe(state)[0].tolist() == pytest.approx([0, 0, 1, -1, 0.3, 0.4, -0.2, -0.1])
    following, reward, _ = world.step(state, torch.tensor([[1.0, -0.5]]))
    assert following[0].tolist() == pytest.approx([math.pi / 2 + 0.25, -math.pi / 2 - 0.125, 0.3, 0.4])
    distance = math.dist(world.tip(following)[0].tolist(), (0.3, 0.4))
    assert reward.item() == pytest.approx(-5 * distance - (1 + 0.25) / 2)


def test_arm_starts() -> None:
    states = Arm().reset(4000, generator())
    radius = states[:, 6:].norm(dim=-1)
    assert (
        radius.min() >= 0.2 - 1e-6
        and radius.max() <= 0.9 + 1e-6
        and radius.mean().item() == pytest.approx(0.55, abs=0.02)
    )
    assert 1.49 < states[:, :6].abs().max() <= 1.5


def test_narrow_behaviour_is_the_jacobian_transpose() -> None:
    world = Arm(joints=4)
    states = world.reset(20, generator(), torch.float64)
    angles = states[:, :4].clone().requires_grad_()
    # gain * J^T e is the gradient of gain * (tip . e) with e held fixed
    error = (states[:, 4:] - world.tip(states)).detach()
    c, s = math.cos(0.8), math.sin(0.8)
    turned = error @ torch.tensor([[c, s], [-s, c]], dtype=torch.float64)
    tip = world.tip(torch.cat([angles, states[:, 4:]], -1))
    (gradient,) = torch.autograd.grad((tip * turned).sum(), angles)
    found = envs.narrow_behaviour(world, noise=0.0)(world.observe(states), None)
    assert torch.allclose(found, (2 * gradient + 0.2).clamp(-1, 1), atol=1e-9)


@pytest.mark.parametrize(
    ("behaviour", "low", "high"), [("narrow", -75, -67), ("uniform", -181, -159), ("mixed", -131, -107)]
)
def test_arm_behaviour_returns(behaviour: str, low: float, high: float) -> None:
    data = envs.arm_episodes(Arm(), behaviour, 500, generator())
    returns = data["rewards"].view(500, 40).sum(1)
    assert low < returns.mean().item() < high and data["rewards"].max() < 0
    if behaviour == "mixed":
        assert returns[:250].mean() > -80 and returns[250:].mean() < -150
    with pytest.raises(ConfigError, match="arm_episodes: behaviour: found 'wide'"):
        envs.arm_episodes(Arm(), "wide", 2)


# ---------------------------------------------------------------- recording
def test_recorded_episodes_stop_at_the_termination() -> None:
    world, g = Gridworld(), generator()
    data = envs.record_episodes(world, [(UniformPolicy(world), world.reset(200, g))], 30, g)
    starts = data["episode_starts"].tolist()
    ends = [*starts[1:], len(data["rewards"])]
    lengths = [b - a for a, b in zip(starts, ends, strict=True)]
    assert len(starts) == 200 and 1 <= min(lengths) < max(lengths) == 30
    for start, end in zip(starts, ends, strict=True):
        assert data["observations"][start].argmax() == world.start_state
        ended, cut = data["terminations"][start:end], data["truncations"][start:end]
        assert not ended[:-1].any() and not cut[:-1].any() and ended[-1] != cut[-1]
        assert ended[-1] or end - start == 30
        assert torch.equal(data["observations"][start + 1 : end], data["next_observations"][start : end - 1])
    reached = data["next_observations"].argmax(-1)
    assert torch.equal(data["terminations"], world.terminal_states[reached])
